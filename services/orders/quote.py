"""Prices, names and availability, never from the client."""

from dataclasses import dataclass
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from chassis.base.problems import Conflict, Invalid
from chassis.clients import BadResponse, Client, Policy
from contracts import money
from contracts.orders import Line
from contracts.payments import MAX_PAYMENT
from services.orders.schemas import NewOrder
from services.orders.settings import Settings

# Queue bursts while products responds within a try's time.
products = Client("products", Policy(slot_seconds=Policy.try_seconds))


class PriceRisen(Conflict):
    type, title = "/problems/price-risen", "Price has risen"


@dataclass(frozen=True)
class Product:
    """`amount`: unit price in minor units."""

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
        """In minor units."""
        return sum(line.unit_amount * line.quantity for line in self.lines)


def quote(body: NewOrder) -> Quote:
    """Raises Invalid with the lines at fault, PriceRisen, and the client's errors."""
    settings = Settings.current()
    on_sale = _fetch([line.product_id for line in body.lines], settings)
    errors = []
    lines = []
    if body.currency not in (None, settings.currency):
        errors.append(("currency", f"must be {settings.currency}"))
    for index, wanted in enumerate(body.lines):
        product = on_sale.get(wanted.product_id)
        if product is None or not product.is_active:
            errors.append((f"lines.{index}.product_id", "is not a product for sale"))
        elif product.currency != settings.currency:
            errors.append((f"lines.{index}.product_id", f"is not sold in {settings.currency}"))
        else:
            lines.append(Line(product.id, product.name, wanted.quantity, product.amount, product.category))
    offer = Quote(lines, settings.currency)
    if offer.amount > MAX_PAYMENT:
        limit = money.text(MAX_PAYMENT, settings.currency)
        errors.append(("lines", f"exceed the maximum amount of an order, {limit}"))
    if errors:
        raise Invalid.fields(*errors)
    if body.expected_total is not None and offer.amount > body.expected_total:
        total = money.text(offer.amount, settings.currency)
        raise PriceRisen(f"The total is now {total}.", total=str(money.from_minor(offer.amount)))
    return offer


def _fetch(product_ids: list[UUID], settings: Settings) -> dict[UUID, Product]:
    response = products.get("/internal/products", {"ids": ",".join(map(str, product_ids))}, settings)
    try:
        return {product.id: product for product in _PRODUCTS.validate_python(response["items"])}
    except (ValidationError, KeyError, TypeError) as error:
        raise BadResponse("The products service returned an invalid response.") from error
