"""Keeps one instance's entry in Consul's catalogue true. It stands on the standard library alone: there is one beside each instance."""
