"""Calls from service to service: found by discovery, bounded in time, tried again where that is safe and helps.

    products = Client("products")
    answer = products.get("/internal/products", {"ids": "1,2"}, settings)

What can go wrong is one of four Problems, each honest to our own caller: see `failures`.
"""

from chassis.clients.client import Client
from chassis.clients.failures import BadAnswer, NotThere, Refused, TooSlow
from chassis.clients.policy import Policy

__all__ = ["BadAnswer", "Client", "NotThere", "Policy", "Refused", "TooSlow"]
