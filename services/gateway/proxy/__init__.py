"""The path of a request: refused or routed, through the plugins, to an upstream and back."""
