"""Backups of an installation and their restoration: see docs/restore.md."""
