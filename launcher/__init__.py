"""Starts, watches and stops the whole of Souk on one machine. No service imports it, and it imports no service."""
