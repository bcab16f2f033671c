"""The documents of the products service. Their methods, and `Stock`, are the only ways to change them."""

from services.products.models.product import Hold, Product
from services.products.models.reservation import Reservation
from services.products.models.stock import Stock

__all__ = ["Hold", "Product", "Reservation", "Stock"]
