"""Starts, supervises and stops all of Souk on one machine; imports no service."""
