"""Stores: the only commit, inbox and outbox, migrations."""
