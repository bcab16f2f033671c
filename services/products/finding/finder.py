"""The seam of search: what a list or a search needs, whoever does the finding.

A finder gives ids and places in an order; what the products are by now is read from the database by those ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from services.products.finding.question import Question, Vocabulary
from services.products.finding.ranking import Texts

if TYPE_CHECKING:
    from services.products.models import Product

Order = Literal["newest", "name", "price", "price_desc", "popular"]

SearchOrder = Literal["relevance", "newest", "name", "price", "price_desc", "popular"]

FIELDS: dict[str, tuple[str, bool]] = {
    "newest": ("created_at", True),
    "name": ("name", False),
    "price": ("price", False),
    "price_desc": ("price", True),
    "popular": ("sold_quantity", True),
}
"""The field of each Order, and whether it descends. Equal ones stand in the same direction by id."""

MAX_RANKED = 300
"""Products that one search puts in order: of those that match, the ones with all the words in a short name come first."""

MAX_COUNTED = 500
"""Matches that facets count; beyond it they say that they are incomplete."""

PRICE_STEPS = [Decimal(step) for step in (0, 10, 25, 50, 100, 250)]
"""Where the ranges of the price facet begin."""

Value = datetime | Decimal | str | int
"""What products are ordered by."""


@dataclass(frozen=True)
class Filters:
    """Which products may be found; None leaves it open."""

    category: str | None = None
    least: Decimal | None = None
    most: Decimal | None = None
    """Bounds of the price, both included."""
    in_stock: bool | None = None
    is_active: bool | None = True

    def let_pass(self, product: "Product") -> bool:
        """Whether the product, as it is now, is still one of those asked for."""
        least, most = self.least or product.price, self.most or product.price
        return (
            self.category in (None, product.category)
            and least <= product.price <= most
            and self.in_stock in (None, product.stock_quantity > 0)
            and self.is_active in (None, product.is_active)
        )


@dataclass(frozen=True)
class Place:
    """Where in an order a product stands."""

    value: Value
    product_id: str


@dataclass(frozen=True)
class Match:
    """A product that may answer a question; where it would stand in an order that is not by relevance; and its words."""

    place: Place
    texts: Texts


@dataclass(frozen=True)
class Counted:
    """How many matches are alike to facets."""

    category: str
    price_step: Decimal
    """Of PRICE_STEPS, the one that the price has reached."""
    is_in_stock: bool
    products: int


class Finder(Vocabulary, Protocol):
    name: str

    def refresh(self, is_changed: bool) -> None:
        """Take notice of what was written. Raises Unavailable while that takes long; `is_changed`: something surely was."""
        ...

    def browse(self, filters: Filters, order: Order, after: Place | None, most: int) -> list[Place]:
        """The first products of the order, or those after a place."""
        ...

    def matches(self, question: Question, filters: Filters, order: SearchOrder) -> list[Match]:
        """At most MAX_RANKED products with words of the question, those with all of them before those with some."""
        ...

    def counted(self, question: Question | None, filters: Filters) -> list[Counted]:
        """At most MAX_COUNTED of the products that a search finds, each of them in one of the counts."""
        ...

    def learn(self, documents: Sequence[dict[str, Any]]) -> None:
        """Take notice of products that were added or changed; as the database keeps them."""
        ...

    def categories(self) -> list[tuple[str, int]]:
        """Each category with something on sale, by name, and how many products that is."""
        ...
