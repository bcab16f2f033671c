"""Keyring: keys that are replaced while everything runs."""
