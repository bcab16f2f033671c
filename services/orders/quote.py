"""What an order would cost: price, name and availability come from the products service, never from the client."""

from dataclasses import dataclass
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from chassis.base.problems import Invalid
from chassis.clients import BadResponse, Client, Policy
from contracts import money
from contracts.orders import Line
from services.orders.schemas import NewOrder
from services.orders.settings import Settings

# An order is worth a moment of waiting: a burst of them must not be refused because they come at once.
products = Client("products", Policy(slot_seconds=0.5))


@dataclass(frozen=True)
class Product:
    """The part of a product that an order keeps; `amount` is the price in minor units."""

    id: UUID
    name: str
    category: str
    amount: int
    currency: str
    is_active: bool


_PRODUCTS = TypeAdapter(list[Product])


@dataclass(frozen=True)
class Quote:
    lines: list[Line]
    currency: str

    @property
    def amount(self) -> int:
        """The total in minor units."""
        return sum(line.unit_amount * line.quantity for line in self.lines)


def quote(body: NewOrder) -> Quote:
    """Raises Invalid, naming the line, for a product that cannot be ordered, and what the client raises."""
    settings = Settings.current()
    known = _ask([line.product_id for line in body.lines], settings)
    errors = []
    lines = []
    if body.currency not in (None, settings.currency):
        errors.append({"field": "currency", "message": f"must be {settings.currency}"})
    for index, wanted in enumerate(body.lines):
        product = known.get(wanted.product_id)
        if product is None or not product.is_active:
            errors.append({"field": f"lines.{index}.product_id", "message": "is not a product on sale"})
        elif product.currency != settings.currency:
            errors.append({"field": f"lines.{index}.product_id", "message": f"is not sold in {settings.currency}"})
        else:
            lines.append(Line(product.id, product.name, wanted.quantity, product.amount, product.category))
    offer = Quote(lines, settings.currency)
    if offer.amount > money.MAX:
        errors.append({"field": "lines", "message": "cost more than one order may"})
    if errors:
        raise Invalid("; ".join(f"{wrong['field']} {wrong['message']}" for wrong in errors), errors=errors)
    return offer


def _ask(product_ids: list[UUID], settings: Settings) -> dict[UUID, Product]:
    answer = products.get("/internal/products", {"ids": ",".join(map(str, product_ids))}, settings)
    try:
        return {product.id: product for product in _PRODUCTS.validate_python(answer["items"])}
    except (ValidationError, KeyError, TypeError) as error:
        raise BadResponse("The products service answered in a form we do not know.") from error
