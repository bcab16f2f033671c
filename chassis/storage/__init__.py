"""Stores, inbox, outbox and migrations."""
