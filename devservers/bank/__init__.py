"""A payment provider for development and tests. The source token decides how a charge ends (`tokens.py`)."""

from devservers.bank.api import create_app

__all__ = ["create_app"]
