"""Keeps one instance's Consul entry up to date. Uses only the standard library, because every instance has a sidecar."""
