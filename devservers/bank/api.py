"""The bank's HTTP API, in the style of real providers: charge, capture, void, refund, and look things up.

Whoever calls shows the bearer key; whatever moves money carries an `Idempotency-Key`, and the same request
with the same key gets the same answer and moves nothing again.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, abort, json, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from devservers import standin
from devservers.bank import fields, pages, rules, tokens
from devservers.bank.ledger import KeyReused, Ledger, Row
from devservers.bank.webhooks import Endpoint, deliver

REPLAYED = "Idempotent-Replayed"


def create_app(
    store_path: Path | None,
    key: str,
    stopping: threading.Event | None = None,
    slow_seconds: float = 3.0,
    webhooks: Endpoint | None = None,
) -> Flask:
    """`store_path`: the SQLite file, or None to forget all at the end; `stopping` cuts slow answers short.

    With `webhooks`, a thread sends what happens there until `stopping`.
    """
    ledger = Ledger(store_path)
    stop = stopping or threading.Event()
    app = standin.create_app(__name__, ledger.is_open)
    pages.mount(app, ledger)
    if webhooks is not None:
        ledger.is_telling = True
        threading.Thread(target=deliver, args=(ledger, webhooks, stop), name="webhooks", daemon=True).start()

    @app.before_request
    def ask_for_the_key() -> None:
        if not request.path.startswith(("/health/", pages.UNDER)):
            _require(key)

    _move(app, ledger, lambda: stop.wait(slow_seconds))
    _show(app, ledger)
    return app


def _move(app: Flask, ledger: Ledger, dawdle: Callable[[], object]) -> None:
    """The doors through which money moves. `dawdle` is what a slow charge does before it is answered."""

    @app.post("/charges")
    def charge() -> Response:
        order = fields.charge_order(fields.body(), tokens.TOKENS)
        under = request.host_url.rstrip("/") + pages.UNDER
        response = _once(ledger, 201, lambda: rules.charge(ledger, order, under))
        _perhaps_lose(order.source)
        if order.source == tokens.SLOW and REPLAYED not in response.headers:
            dawdle()
        return response

    @app.post("/charges/<charge_id>/capture")
    def capture(charge_id: str) -> Response:
        wanted = fields.optional_amount(fields.body())
        return _once(ledger, 200, lambda: rules.capture(ledger, charge_id, wanted))

    @app.post("/charges/<charge_id>/void")
    def void(charge_id: str) -> Response:
        fields.nothing(fields.body())
        return _once(ledger, 200, lambda: rules.void(ledger, charge_id))

    @app.post("/charges/<charge_id>/refunds")
    def refund(charge_id: str) -> Response:
        amount, reference = fields.refund_order(fields.body())
        response = _once(ledger, 201, lambda: rules.refund(ledger, charge_id, amount, reference))
        _perhaps_lose(rules.find(ledger, charge_id)["source"])
        return response


def _show(app: Flask, ledger: Ledger) -> None:
    """The doors through which one looks."""

    @app.get("/charges/<charge_id>")
    def get_charge(charge_id: str) -> Row:
        return rules.shown_charge(rules.find(ledger, charge_id))

    @app.get("/charges/<charge_id>/refunds")
    def get_refunds(charge_id: str) -> Row:
        rules.find(ledger, charge_id)
        return {"items": [rules.shown_refund(row) for row in ledger.refunds(charge_id)]}

    @app.get("/charges")
    def get_charges() -> Row:
        after, limit = fields.page(request.args)
        # One more than the page holds tells whether there is a next one.
        rows = ledger.charges(fields.choice(request.args), after, limit + 1)
        following = str(rows[limit - 1]["position"]) if len(rows) > limit else None
        return {"items": [rules.shown_charge(row) for row in rows[:limit]], "next": following}


def _perhaps_lose(source: str) -> None:
    if source == tokens.LOST:
        abort(500, "It is done, and the answer is lost.")


def _require(key: str) -> None:
    shown = request.headers.get("Authorization", "")
    if not hmac.compare_digest(shown.encode(), f"Bearer {key}".encode()):
        raise Unauthorized("The bearer key is missing or wrong.", www_authenticate=WWWAuthenticate("bearer"))


def _once(ledger: Ledger, status: int, act: Callable[[], Row]) -> Response:
    """The answer to the request in hand, which acts only if its key is new."""
    key = fields.idempotency_key(request.headers)
    asked = json.dumps([request.path, fields.body()], sort_keys=True).encode()
    try:
        answer, is_replay = ledger.once(key, hashlib.sha256(asked).hexdigest(), lambda: json.dumps(act()))
    except KeyReused:
        abort(422, "This Idempotency-Key was used before, for another request.")
    response = Response(answer, status, content_type="application/json")
    if is_replay:
        response.headers[REPLAYED] = "true"
    return response
