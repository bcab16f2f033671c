"""Which target of an upstream gets the next try, and which are healthy."""
