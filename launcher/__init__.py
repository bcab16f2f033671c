"""Starts, supervises and stops all of Souk on one machine. It imports no service, and no service imports it."""
