"""One request and its response, on which proxy, plugins and balancing work."""
