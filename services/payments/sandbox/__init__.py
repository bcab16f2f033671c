"""The bank: a payment provider of our own for development and tests, a stand-in for the real party.

It is shipped beside the adapter that calls it and behaves as providers do, down to their bad days: the source
token of a charge decides how it ends (`TOKENS` in `rules.py`).
"""

from services.payments.sandbox.doors import create_app

__all__ = ["create_app"]
