"""Keeps one instance's Consul entry current. Standard library only: every instance has a sidecar."""
