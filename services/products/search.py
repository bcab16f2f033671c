"""Search: a text becomes a question, matches are put in order, and facets say what else there is among them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast

from chassis import paging
from chassis.paging import Page
from services.products import listing
from services.products.finding.finder import FIELDS, MOST_COUNTED, Counted, Filters, Finder, Match, Order, Place
from services.products.finding.question import Question, understand
from services.products.finding.ranking import score
from services.products.models import Product

RELEVANCE = "relevance"

PRICE_STEPS = [Decimal(step) for step in (0, 10, 25, 50, 100, 250)]
"""Where the ranges of the price facet begin."""


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
    corrected: str | None
    """The text as it was understood, if that is not as it was typed."""


def search(finder: Finder, text: str, page: Page, filters: Filters, order: str) -> Results:
    """One page of what is found; without words it is a list. Raises Invalid for a cursor of something else."""
    if not text:
        return Results(*listing.page(finder, page, filters, cast(Order, order)), corrected=None)
    question, after = _continued(page.cursor, order) if page.cursor else (understand(text, finder), None)
    _, descends = FIELDS.get(order, ("", True))
    places = sorted(
        (found for match in finder.matches(question, filters) if (found := _place(question, match, order))),
        key=_key,
        reverse=descends,
    )
    if after is not None:
        seen = _key(after)
        places = [each for each in places if (_key(each) < seen if descends else _key(each) > seen)]
    following = None
    if len(places) > page.limit:
        following = paging.encode(*listing.cursor(order, places[page.limit - 1]), question.to_text())
    products = listing.as_they_are([each.product_id for each in places[: page.limit]], filters)
    return Results(products, following, question.corrected)


def _key(place: Place) -> tuple[Any, str]:
    return place.value, place.product_id


def _place(question: Question, match: Match, order: str) -> Place | None:
    """Where the match stands; None for one that does not answer the question."""
    worth = score(question, match.texts)
    value = worth if order == RELEVANCE else getattr(match, FIELDS[order][0])
    return Place(value, match.product_id) if worth else None


def _continued(cursor: str, order: str) -> tuple[Question, Place]:
    """The question of the first page, and where the last one ended."""
    *place, question = paging.decode(cursor, 4)
    try:
        return Question.from_text(question), listing.place(place, order)
    except ValueError:
        raise paging.invalid_cursor() from None


def facets(finder: Finder, text: str, filters: Filters) -> Facets:
    question = understand(text, finder) if text else None
    counted: dict[Filters, list[Counted]] = {}

    def among(**without: Any) -> list[Counted]:
        asked = replace(filters, **without)
        if asked not in counted:
            counted[asked] = finder.counted(question, asked)
        return counted[asked]

    categories = _most_first(Counter(each.category for each in among(category=None)))
    prices = Counter(_step(each.price) for each in among(least=None, most=None))
    stocked = Counter(each.is_in_stock for each in among(in_stock=None))
    ends: list[Decimal | None] = [*PRICE_STEPS[1:], None]
    ranges = [(least, most, prices[least]) for least, most in zip(PRICE_STEPS, ends, strict=True) if prices[least]]
    is_complete = all(len(each) < MOST_COUNTED for each in counted.values())
    return Facets(categories, ranges, stocked[True], stocked[False], is_complete)


def _most_first(counts: "Counter[str]") -> list[tuple[str, int]]:
    order: Callable[[tuple[str, int]], tuple[int, str]] = lambda pair: (-pair[1], pair[0])  # noqa: E731
    return sorted(counts.items(), key=order)[:50]


def _step(price: Decimal) -> Decimal:
    return max(step for step in PRICE_STEPS if step <= price)
