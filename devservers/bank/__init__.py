"""The bank: a payment provider of our own for development and tests, a stand-in for the real party.

It is shipped beside the adapter that calls it and behaves as providers do, down to their bad days: the source
token of a charge decides how it ends (`tokens.py`). It has an API for merchants (`api.py`), pages for customers who have to
confirm a payment (`pages.py`), and sends webhooks (`webhooks.py`).
"""

from devservers.bank.api import create_app

__all__ = ["create_app"]
