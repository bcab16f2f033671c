"""Staff's pages: find an order and its whole story, act on it, the catalogue, people, sales, and what needs attention.

Each action is asked again, wants a reason, and is written to the log with who and why. Orders and accounts keep their own trail of it.
"""

import csv
import io
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import abort, flash, redirect, render_template, request, url_for
from structlog import get_logger
from werkzeug.wrappers import Response

from chassis.base.problems import Problem
from services.console import api, fields, figures, observed, person, plots, prometheus, runbooks, story
from services.console.figures import Watched
from services.console.pages import Pages

log = get_logger(__name__)

pages = Pages("staff", __name__, url_prefix="/staff")

ACTIONS = {
    "ship": ("Mark as shipped", {"status": "shipped"}),
    "deliver": ("Mark as delivered", {"status": "delivered"}),
    "cancel": ("Cancel, and pay back", {"status": "cancelled", "reason": "cancelled_by_shop"}),
}
POSSIBLE = {"pending": ["cancel"], "confirmed": ["ship", "cancel"], "shipped": ["deliver"]}
"""Of an order's status."""


@pages.page("/", allow="staff")
def overview() -> str:
    read = api.each(stuck="/orders/?stuck=true&limit=20", latest="/orders/?limit=10")
    watched = figures.read(prometheus.ours())
    names = runbooks.by_alert()
    about = {name: runbooks.rendered(names[name]) for name in _firing(watched) if name in names}
    return render_template("staff/overview.html", watched=watched, runbooks=about, **read)


def _firing(watched: Watched | None) -> set[str]:
    return {alert["alertname"] for alert in watched.alerts} if watched else set()


@pages.page("/runbooks/<name>", allow="staff")
def runbook(name: str) -> str:
    if name not in runbooks.by_alert().values():
        abort(404)
    return render_template("staff/runbook.html", name=name, text=runbooks.rendered(name))


@pages.page("/find", allow="staff")
def find() -> Any:
    """An order, request or person by id, else people by e-mail address or name."""
    wanted = request.args.get("q", "").strip()
    people, found = [], []
    if re.fullmatch("[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", wanted):
        id_ = UUID(wanted)
        if api.is_there(f"/orders/{id_}"):
            return redirect(url_for("staff.order", order_id=id_))
        found = api.get("/orders/", request=id_, limit=20)["items"]
        if len(found) == 1:
            return redirect(url_for("staff.order", order_id=found[0]["id"]))
        if not found and api.is_there(f"/users/{id_}"):
            return redirect(url_for("staff.customer", user_id=id_))
        if not found and observed.of_request(id_):
            return redirect(url_for("staff.one_request", request_id=id_))
    elif len(wanted) >= 2:
        people = api.get("/users/search", limit=50, **{"email" if "@" in wanted else "q": wanted})["items"]
    return render_template("staff/find.html", wanted=wanted, people=people, found=found)


@pages.page("/requests/<uuid:request_id>", allow="staff")
def one_request(request_id: UUID) -> str:
    """By its X-Correlation-ID or trace id."""
    found = api.get("/orders/", request=request_id, limit=20)["items"]
    return render_template("staff/request.html", id=request_id, found=found, observed=observed.of_request(request_id))


# --- orders


@pages.page("/orders/<uuid:order_id>", allow="staff")
def order(order_id: UUID) -> str:
    told = story.of_order(order_id)
    possible = {name: ACTIONS[name][0] for name in POSSIBLE.get(told["order"]["status"], [])}
    return render_template("staff/order.html", **told, actions=possible)


@pages.page("/orders/<uuid:order_id>/<any(ship, deliver, cancel):action>", allow="staff", methods=("POST",))
def change_order(order_id: UUID, action: str) -> Any:
    title, body = ACTIONS[action]

    def change(why: str) -> None:
        api.call(
            "PUT", f"/orders/{order_id}/status", {**body, **({"note": {"text": why}} if action == "cancel" else {})}
        )

    return asked(f"{title}: order {str(order_id)[:8]}", change, url_for("staff.order", order_id=order_id))


@pages.page("/orders/<uuid:order_id>/refund", allow="staff", methods=("POST",))
def refund(order_id: UUID) -> Any:
    amount = request.form.get("amount", "").strip()

    def change(why: str) -> None:
        body = {"note": {"text": why}} | ({"amount": amount} if amount else {})
        api.post(f"/orders/{order_id}/refunds", body, key=request.form.get("key", ""))

    title = f"Refund {amount or 'all that is left'} of order {str(order_id)[:8]}"
    return asked(title, change, url_for("staff.order", order_id=order_id))


def asked(
    title: str, change: Callable[[str], None], back: str, refused: Callable[[api.Refusal], str] | None = None
) -> Any:
    """Asks once more for each action, and for the reason; then does it, and writes who, what and why to the log.

    refused: the page of the form, for a refusal that names its fields.
    """
    why, kept = (
        request.form.get("why", "").strip()[:200],
        {k: v for k, v in request.form.items() if k not in ("csrf", "why", "sure")},
    )
    if "sure" not in request.form or not why:
        return render_template("staff/confirm.html", title=title, back=back, kept=kept, action=request.path)
    outcome = "unknown"
    try:
        change(why)
        outcome = "done"
    except (api.Refusal, Problem) as refusal:
        if isinstance(refusal, api.Refusal):
            outcome = "refused"
            if refused is not None and refusal.errors:
                return refused(refusal), refusal.status
        # With the same key: what was done although its response was lost is not done again.
        page = render_template(
            "staff/confirm.html", title=title, back=back, kept=kept, action=request.path, refusal=refusal
        )
        return page, refusal.status
    finally:
        _log(title, request.path, why=why, outcome=outcome)
    flash(f"{title}: done.")
    return redirect(back, 303)


def _log(action: str, subject: str, **more: Any) -> None:
    log.info("operator acted", user_id=person.required().id, action=action, subject=subject, **more)


# --- people


@pages.page("/customers/<uuid:user_id>", allow="staff")
def customer(user_id: UUID) -> str:
    user = api.get(f"/users/{user_id}")
    read = api.each(
        bought=f"/orders/user/{user_id}?limit=20",
        security=f"/users/{user_id}/security-events?limit=20",
        messages=f"/notifications/{user_id}?limit=20",
    )
    return render_template("staff/customer.html", user=user, **read)


@pages.page("/customers/<uuid:user_id>/roles", allow="admin", methods=("POST",))
def roles(user_id: UUID) -> Any:
    wanted = ["customer", *(role for role in ("staff", "admin") if role in request.form)]

    def change(_: str) -> None:
        api.call("PUT", f"/users/{user_id}/roles", {"roles": wanted})

    return asked(f"Make the roles {', '.join(wanted)}", change, url_for("staff.customer", user_id=user_id))


# --- catalogue


@pages.page("/products", allow="staff")
def products() -> str:
    wanted = request.args.get("q", "").strip()[:200]
    found = api.get("/products/search", q=wanted, active="all", limit=50, cursor=request.args.get("cursor"))
    return render_template("staff/products.html", found=found, wanted=wanted, report=None)


@pages.page("/products/new", allow="staff")
def new_product() -> str:
    return render_template("staff/product.html", product={"currency": "EUR"}, stock=None, movements=None, refusal=None)


@pages.page("/products/new", allow="staff", methods=("POST",))
def add_product() -> Any:
    body = _described()
    try:
        body["stock_quantity"] = fields.whole_number("stock_quantity")
        made = api.post("/products/", body, key=request.form.get("key", ""))
    except api.Refusal as refusal:
        body["stock_quantity"] = request.form.get("stock_quantity", "")
        page = render_template("staff/product.html", product=body, stock=None, movements=None, refusal=refusal)
        return page, refusal.status
    _log("add a product", made["id"])
    flash("The product is on sale.")
    return redirect(url_for("staff.product", product_id=made["id"]), 303)


@pages.page("/products/<uuid:product_id>", allow="staff")
def product(product_id: UUID) -> str:
    return _product_page(product_id)


@pages.page("/products/<uuid:product_id>", allow="staff", methods=("POST",))
def change_product(product_id: UUID) -> Any:
    """Only if unchanged since the form was made. A new price wants a reason."""
    body = _described() | {"is_active": "is_active" in request.form}
    version = api.from_form(request.form.get("version", ""))

    def change(_: str) -> None:
        api.call("PUT", f"/products/{product_id}", body, {"If-Match": f'"{version}"'})

    before = api.get(f"/products/{product_id}")
    back = url_for("staff.product", product_id=product_id)
    if (before["price"], before["currency"]) != (body["price"], body["currency"]):
        title = f"Change the price of {before['name']} from {_price(before)} to {_price(body)}"
        return asked(title, change, back, lambda refusal: _product_page(product_id, refusal, body))
    try:
        change("")
    except api.Refusal as refusal:
        return _product_page(product_id, refusal, body), refusal.status
    _log("change a product", str(product_id))
    flash("The product is saved.")
    return redirect(back, 303)


@pages.page("/products/<uuid:product_id>/stock", allow="staff", methods=("POST",))
def adjust_stock(product_id: UUID) -> Any:
    try:
        quantity = fields.whole_number("quantity")
    except api.Refusal as refusal:
        return _product_page(product_id, refusal), refusal.status

    def change(why: str) -> None:
        body = {"quantity": quantity, "reason": why}
        api.post(f"/products/{product_id}/stock-adjustments", body, key=request.form.get("key", ""))

    return asked(f"Change the stock by {quantity}", change, url_for("staff.product", product_id=product_id))


@pages.page("/products/import", allow="staff", methods=("POST",))
def import_products() -> Any:
    """An import changes prices, and so wants a reason."""
    file, why = request.files.get("file"), request.form.get("why", "").strip()[:200]
    content = file.read() if file else b""
    kind = "application/x-ndjson" if file and (file.filename or "").endswith((".jsonl", ".ndjson")) else "text/csv"
    report, refusal = None, None
    try:
        if not why:
            raise api.Refusal(422, {"title": "A reason is missing", "detail": "Say why you import these products."})
        report = api.call("POST", "/products/import", content, {"Content-Type": kind})
        _log("import products", file.filename or "" if file else "", why=why, lines=report["lines"])
    except api.Refusal as refused:
        refusal = refused
    found = api.get("/products/search", active="all", limit=50, sort="newest")
    page = render_template("staff/products.html", found=found, wanted="", report=report, refusal=refusal)
    return page, refusal.status if refusal else 200


def _product_page(product_id: UUID, refusal: api.Refusal | None = None, typed: dict[str, Any] | None = None) -> str:
    shown = api.get(f"/products/{product_id}")
    read = api.each(stock=f"/products/{product_id}/stock", movements=f"/products/{product_id}/stock-movements?limit=20")
    return render_template("staff/product.html", product={**shown, **(typed or {})}, refusal=refusal, **read)


def _described() -> dict[str, Any]:
    names = ("sku", "name", "description", "category", "price", "currency")
    return {name: request.form.get(name, "").strip() for name in names}


def _price(product: dict[str, Any]) -> str:
    return f"{product['price']} {product['currency']}"


# --- sales


@pages.page("/sales", allow="staff")
def sales() -> str:
    found = api.get("/orders/analytics", since=request.args.get("since"), until=request.args.get("until"))
    revenue = plots.days(found["since"], found["until"], {day["day"]: float(day["revenue"]) for day in found["days"]})
    placed = plots.days(found["since"], found["until"], {day["day"]: float(day["placed"]) for day in found["days"]})
    top = [(each["name"], float(each["revenue"])) for each in found["products"]]
    return render_template("staff/sales.html", found=found, revenue=revenue, placed=placed, top=plots.bars(top))


@pages.page("/sales.csv", allow="staff")
def sales_file() -> Response:
    found = api.get("/orders/analytics", since=request.args.get("since"), until=request.args.get("until"))
    columns = ("day", "placed", "confirmed", "revenue", "refunded")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(found["days"])
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8")
