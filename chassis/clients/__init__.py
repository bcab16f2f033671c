"""Reads from one service to another; changes are messages.

    products = Client("products")
    quotes = products.get("/internal/products", {"ids": "1,2"}, settings)

For errors, see `failures`.
"""

from chassis.clients.client import Client
from chassis.clients.failures import BadResponse, NotThere, Refused, TooSlow
from chassis.clients.policy import Policy

__all__ = ["BadResponse", "Client", "NotThere", "Policy", "Refused", "TooSlow"]
