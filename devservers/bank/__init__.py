"""The bank: a payment provider for development and tests.

A charge's source token decides how it ends, errors included (`tokens.py`). It has an API for merchants (`api.py`), pages on
which customers confirm a payment (`pages.py`), a dashboard in which the merchant refunds, captures in part and disputes
(`dashboard.py`), and webhooks (`webhooks.py`).
"""

from devservers.bank.api import create_app

__all__ = ["create_app"]
