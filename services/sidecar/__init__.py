"""Keeps an instance's Consul entry current. Standard library only: every instance has one."""
