"""Kong's plugins, one module each, and which of them run for an exchange."""
