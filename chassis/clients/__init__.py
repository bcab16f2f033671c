"""Reads from one service to another: found by discovery, bounded in time, retried where that helps.

    products = Client("products")
    quotes = products.get("/internal/products", {"ids": "1,2"}, settings)

A service only reads from another; what changes something there is a message. For what can go wrong, see `failures`.
"""

from chassis.clients.client import Client
from chassis.clients.failures import BadResponse, NotThere, Refused, TooSlow
from chassis.clients.policy import Policy

__all__ = ["BadResponse", "Client", "NotThere", "Policy", "Refused", "TooSlow"]
