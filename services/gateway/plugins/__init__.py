"""Kong's plugins, one module each."""
