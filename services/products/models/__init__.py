"""MongoDB documents, changed only by their methods, `Stock` and `adjust`."""

from services.products.models.affinity import Affinity
from services.products.models.basket import Basket, Taste
from services.products.models.ledger import Entry
from services.products.models.movement import Movement
from services.products.models.product import Hold, Product
from services.products.models.reservation import Reservation
from services.products.models.stock import Stock, adjust

__all__ = [
    "Affinity",
    "Basket",
    "Entry",
    "Hold",
    "Movement",
    "Product",
    "Reservation",
    "Stock",
    "Taste",
    "adjust",
]
