"""A customer's orders: place, pay, follow, cancel."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from flask import Response, flash, g, redirect, render_template, request, session, stream_with_context, url_for
from werkzeug.wrappers import Response as AnyResponse

from chassis.base.problems import Problem
from services.console import api, person, shop
from services.console.pages import Pages
from services.console.settings import ConsoleSettings

pages = Pages("orders", __name__, url_prefix="/account/orders")

TEST_CARDS = {
    "tok_success": "Card ending in 4242, which works",
    "tok_pending": "Card that its bank confirms first (3-D Secure)",
    "tok_declined_insufficient_funds": "Card without enough money",
    "tok_declined_expired_card": "Expired card",
    "tok_slow": "Card of a slow bank",
    "tok_lost_response": "Card of a bank whose reply is lost",
}
"""Of the sandbox bank."""

FOLLOW_SECONDS = 25.0
POLL_SECONDS = 0.5
MAX_FOLLOWERS = 4
"""Each holds a thread. The pages of the others reload."""

_followers = threading.BoundedSemaphore(MAX_FOLLOWERS)


@pages.page("/", allow="customer")
def mine() -> str:
    page = api.get(f"/orders/user/{person.required().id}", limit=20, cursor=request.args.get("cursor"))
    return render_template("orders.html", page=page)


@pages.page("/checkout", allow="customer")
def checkout() -> Any:
    lines = shop.basket_lines()
    if not lines:
        return redirect(url_for("shop.basket"))
    return _checkout_page(lines)


@pages.page("/checkout", allow="customer", methods=("POST",))
def place() -> Any:
    form = request.form
    wanted = [{"product_id": name, "quantity": quantity} for name, quantity in session.get("basket", {}).items()]
    body = {"lines": wanted, "payment_method": form.get("payment_method", ""), "expected_total": form.get("total", "")}
    key = form.get("key", "")
    try:
        order = api.post("/orders/", body, key=key)
    except api.Refusal as refusal:
        return _checkout_page(shop.basket_lines(), refusal), refusal.status
    except Problem as problem:
        # It may have been placed: sent again with this key, it is still one order.
        return _checkout_page(shop.basket_lines(), problem, key), problem.status
    session.pop("basket", None)
    return redirect(url_for("orders.show", order_id=order["id"]), 303)


def _checkout_page(lines: list[dict[str, Any]], refusal: api.Refusal | Problem | None = None, key: str = "") -> str:
    total, currency = shop.total(lines)
    return render_template(
        "checkout.html",
        lines=lines,
        total=total,
        currency=currency,
        cards=_cards(),
        key=key or str(uuid4()),
        refusal=refusal,
    )


def _cards() -> dict[str, str]:
    """By token: the customer's own, and in development the sandbox bank's."""
    own = {each["token"]: each["label"] for each in api.get("/payments/methods")["items"]}
    return own | (TEST_CARDS if ConsoleSettings.current().is_development else {})


@pages.page("/<uuid:order_id>", allow="customer")
def show(order_id: UUID) -> str:
    return render_template("order.html", **story(order_id))


@pages.page("/<uuid:order_id>/cancel", allow="customer", methods=("POST",))
def cancel(order_id: UUID) -> AnyResponse:
    try:
        api.call("DELETE", f"/orders/{order_id}")
        flash("The order is cancelled. What was paid comes back.")
    except api.Refusal as refusal:
        if refusal.status != 409:
            raise
        flash(refusal.text, "error")
    return redirect(url_for("orders.show", order_id=order_id), 303)


@pages.page("/<uuid:order_id>/stream", allow="customer")
def stream(order_id: UUID) -> Any:
    """Server-sent events: the order's part of the page, whenever it has changed."""
    api.get(f"/orders/{order_id}")  # or its error, before the stream begins
    g.is_streaming = True
    if not _followers.acquire(blocking=False):
        return Response(status=204)  # tells EventSource to stop
    response = Response(stream_with_context(_changes(order_id)), content_type="text/event-stream")
    response.call_on_close(_followers.release)
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _changes(order_id: UUID) -> Iterator[str]:
    end, last = time.monotonic() + FOLLOW_SECONDS, ""
    yield "retry: 1000\n\n"
    while time.monotonic() < end:
        try:
            told = story(order_id)
            part = render_template("_order.html", **told)
        except (api.Refusal, api.LoggedOut, Problem):
            return  # the page asks again, and shows what is wrong
        yield f"data: {json.dumps(part)}\n\n" if part != last else ": still there\n\n"
        last = part
        if not told["is_moving"]:
            yield "event: end\ndata:\n\n"
            return
        time.sleep(POLL_SECONDS)


def story(order_id: UUID) -> dict[str, Any]:
    """The order, and what other services have of it."""
    order = api.get(f"/orders/{order_id}")
    owner = order["user_id"]
    read = api.each(
        events=f"/orders/{order_id}/events",
        payments=f"/payments/user/{owner}?order_id={order_id}",
        mails=f"/notifications/{owner}?subject_id={order_id}&limit=100",
    )
    events, payments, mails = ((read[name] or {"items": []})["items"] for name in ("events", "payments", "mails"))
    is_moving = order["status"] == "pending" or any(each["status"] in ("pending", "authorized") for each in payments)
    return {
        "order": order,
        "events": events,
        "payments": payments,
        "mails": sorted(mails, key=lambda each: each["created_at"]),
        "missing": [found for found in read.values() if not found],
        "is_moving": is_moving or any(each["sent_at"] is None and each["status"] == "pending" for each in mails),
    }
