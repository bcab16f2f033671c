"""Search: a text becomes a question, matches are put in order, and facets say what else there is among them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar, cast

from chassis.web import pagination
from chassis.web.pagination import Page
from services.products import listing
from services.products.finding.finder import (
    FIELDS,
    MAX_COUNTED,
    PRICE_STEPS,
    Counted,
    Filters,
    Finder,
    Match,
    Order,
    Place,
    SearchOrder,
)
from services.products.finding.question import Question, understand
from services.products.finding.ranking import score
from services.products.models import Product

K = TypeVar("K")

RELEVANCE = "relevance"


@dataclass(frozen=True)
class Facets:
    """How many products each choice would leave; each facet is counted without its own filter, so that one can change it."""

    categories: list[tuple[str, int]]
    prices: list[tuple[Decimal, Decimal | None, int]]
    """From, up to and without (None: no bound), how many."""
    in_stock: int
    out_of_stock: int
    is_complete: bool
    """False: there are more matches than are counted."""


@dataclass(frozen=True)
class Results:
    products: list[Product]
    following: str | None
    question: Question | None
    """The text as it was understood; None where there was none."""


def search(finder: Finder, text: str, page: Page, filters: Filters, order: SearchOrder) -> Results:
    """One page of what is found; without words it is a list. Raises Invalid for a cursor of something else."""
    if not text:
        return Results(*listing.page(finder, page, filters, cast(Order, order)), question=None)
    question, after = _continued(page.cursor, order) if page.cursor else (understand(text, finder), None)
    _, descends = FIELDS.get(order, ("", True))
    places = sorted(
        (found for match in finder.matches(question, filters, order) if (found := _place(question, match, order))),
        key=_key,
        reverse=descends,
    )
    if after is not None:
        seen = _key(after)
        places = [each for each in places if (_key(each) < seen if descends else _key(each) > seen)]
    following = None
    if len(places) > page.limit:
        following = pagination.encode(*listing.cursor(order, places[page.limit - 1]), question.to_text())
    products = listing.as_they_are([each.product_id for each in places[: page.limit]], filters)
    return Results(products, following, question)


def _key(place: Place) -> tuple[Any, str]:
    return place.value, place.product_id


def _place(question: Question, match: Match, order: str) -> Place | None:
    """Where the match stands; None for one that does not answer the question."""
    worth = score(question, match.texts)
    if not worth:
        return None
    return Place(worth, match.place.product_id) if order == RELEVANCE else match.place


def _continued(cursor: str, order: str) -> tuple[Question, Place]:
    """The question of the first page, and where the last one ended."""
    *place, question = pagination.decode(cursor, 4)
    try:
        return Question.from_text(question), listing.place(place, order)
    except ValueError:
        raise pagination.invalid_cursor() from None


def facets(finder: Finder, question: Question | None, filters: Filters) -> Facets:
    """Of what the question finds, or of all products."""
    counted: dict[Filters, list[Counted]] = {}

    def among(**without: Any) -> list[Counted]:
        asked = replace(filters, **without)
        if asked not in counted:
            counted[asked] = finder.counted(question, asked)
        return counted[asked]

    categories = _most_first(_sums((each.category, each.products) for each in among(category=None)))
    prices = _sums((each.price_step, each.products) for each in among(least=None, most=None))
    stocked = _sums((each.is_in_stock, each.products) for each in among(in_stock=None))
    ends: list[Decimal | None] = [*PRICE_STEPS[1:], None]
    ranges = [(least, most, prices[least]) for least, most in zip(PRICE_STEPS, ends, strict=True) if prices[least]]
    is_complete = all(sum(each.products for each in alike) < MAX_COUNTED for alike in counted.values())
    return Facets(categories, ranges, stocked[True], stocked[False], is_complete)


def _sums(counts: Iterable[tuple[K, int]]) -> "Counter[K]":
    sums: Counter[K] = Counter()
    for key, products in counts:
        sums[key] += products
    return sums


def _most_first(counts: "Counter[str]") -> list[tuple[str, int]]:
    order: Callable[[tuple[str, int]], tuple[int, str]] = lambda pair: (-pair[1], pair[0])  # noqa: E731
    return sorted(counts.items(), key=order)[:50]
