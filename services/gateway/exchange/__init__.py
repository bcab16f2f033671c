"""One request and its response, as plugins, balancing and proxy see them."""
