"""The shop: browse, search, one product, and the basket."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from chassis.base.problems import Problem
from services.console import api, fields
from services.console.pages import Pages

pages = Pages("shop", __name__, url_prefix="/shop")

PER_PAGE = 24
MAX_LINES = 30
"""In a basket: the cookie holds it."""

SORTS = {
    "": "Best match",
    "popular": "Best selling",
    "newest": "Newest",
    "price": "Price, low to high",
    "price_desc": "Price, high to low",
    "name": "Name",
}
FILTERS = ("q", "category", "min_price", "max_price", "in_stock", "sort")


@pages.page("/", allow="anyone")
def browse() -> str:
    given = {name: value for name in FILTERS if (value := request.args.get(name, "").strip()[:200])}
    found = api.get("/products/search", limit=PER_PAGE, cursor=request.args.get("cursor"), **given)
    facets = found.get("facets") or {}
    return render_template("shop.html", found=found, facets=facets, given=given, sorts=SORTS, link=_link(given))


@pages.page("/products/<uuid:product_id>", allow="anyone")
def product(product_id: UUID) -> str:
    shown = api.get(f"/products/{product_id}")
    try:
        beside = api.get(f"/products/{product_id}/recommendations", limit=4)["items"]
    except (Problem, api.Refusal):
        beside = []  # nothing that a sale needs
    return render_template("product.html", product=shown, recommendations=beside)


@pages.page("/basket", allow="anyone")
def basket() -> str:
    lines = basket_lines()
    amount, currency = total(lines)
    return render_template("basket.html", lines=lines, total=amount, currency=currency)


@pages.page("/basket/<uuid:product_id>", allow="anyone", methods=("POST",))
def put(product_id: UUID) -> Response:
    """quantity: 0 removes it; `add` counts from what is there."""
    held: dict[str, int] = dict(session.get("basket", {}))
    name = str(product_id)
    quantity = fields.whole_number("quantity")
    quantity += held.get(name, 0) if "add" in request.form else 0
    held.pop(name, None)
    if quantity > 0:
        if len(held) >= MAX_LINES:
            flash(f"A basket holds at most {MAX_LINES} different products.", "error")
            return redirect(url_for("shop.basket"), 303)
        held[name] = min(quantity, 999)
    session["basket"] = held
    return redirect(url_for("shop.basket"), 303)


def basket_size() -> int:
    return sum(session.get("basket", {}).values())


def basket_lines() -> list[dict[str, Any]]:
    """With products as they are now; None for one that is no longer on sale."""
    lines = []
    for product_id, quantity in session.get("basket", {}).items():
        try:
            found = api.get(f"/products/{product_id}")
        except api.Refusal as refusal:
            if refusal.status != 404:
                raise
            found = None
        lines.append({"id": product_id, "quantity": quantity, "product": found})
    return lines


def total(lines: list[dict[str, Any]]) -> tuple[Decimal, str]:
    """Of what is on sale: amount and currency."""
    sold = [line for line in lines if line["product"]]
    amount = sum((Decimal(line["product"]["price"]) * line["quantity"] for line in sold), Decimal("0.00"))
    return amount, sold[0]["product"]["currency"] if sold else "EUR"


def _link(given: Mapping[str, str]) -> Any:
    """A function: this page's address with other filters; an empty one is dropped."""

    def link(**changes: str) -> str:
        query: dict[str, Any] = {name: value for name, value in {**given, **changes}.items() if value}
        return url_for("shop.browse", **query)

    return link
