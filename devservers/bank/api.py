"""The bank's merchant API: charge, capture, void, refund, look up.

Requests need the bearer key; those that move money also an `Idempotency-Key`.
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
from devservers.bank import dashboard, fields, pages, rules, tokens
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
    """`store_path`: SQLite file, None for memory."""
    ledger = Ledger(store_path)
    stop = stopping or threading.Event()
    app = standin.create_app(__name__, ledger.is_open)
    pages.mount(app, ledger)
    dashboard.mount(app, ledger)
    if webhooks is not None:
        ledger.has_endpoint = True
        threading.Thread(target=deliver, args=(ledger, webhooks, stop), name="webhooks", daemon=True).start()

    @app.before_request
    def require_key() -> None:
        if request.path.startswith(dashboard.PATH):
            dashboard.require(key)
        elif not request.path.startswith(("/health/", pages.PATH)):
            _require(key)

    _add_commands(app, ledger, lambda: stop.wait(slow_seconds))
    _add_lookups(app, ledger)
    return app


def _add_commands(app: Flask, ledger: Ledger, delay: Callable[[], object]) -> None:
    @app.post("/charges")
    def charge() -> Response:
        order = fields.charge_order(fields.body(), tokens.TOKENS)
        pages_url = request.host_url.rstrip("/") + pages.PATH
        response = _once(ledger, 201, lambda: rules.charge(ledger, order, pages_url))
        _maybe_lose(order.source)
        if order.source == tokens.SLOW and REPLAYED not in response.headers:
            delay()
        return response

    @app.post("/charges/<charge_id>/capture")
    def capture(charge_id: str) -> Response:
        amount = fields.optional_amount(fields.body())
        return _once(ledger, 200, lambda: rules.capture(ledger, charge_id, amount))

    @app.post("/charges/<charge_id>/void")
    def void(charge_id: str) -> Response:
        fields.require_empty(fields.body())
        return _once(ledger, 200, lambda: rules.void(ledger, charge_id))

    @app.post("/charges/<charge_id>/refunds")
    def refund(charge_id: str) -> Response:
        amount, reference = fields.refund_order(fields.body())
        response = _once(ledger, 201, lambda: rules.refund(ledger, charge_id, amount, reference))
        _maybe_lose(rules.find(ledger, charge_id)["source"])
        return response


def _add_lookups(app: Flask, ledger: Ledger) -> None:
    @app.get("/charges/<charge_id>")
    def get_charge(charge_id: str) -> Row:
        return rules.charge_view(rules.find(ledger, charge_id))

    @app.get("/charges/<charge_id>/refunds")
    def get_refunds(charge_id: str) -> Row:
        rules.find(ledger, charge_id)
        return {"items": [rules.refund_view(row) for row in ledger.refunds(charge_id)]}

    @app.get("/charges")
    def get_charges() -> Row:
        after, limit = fields.page(request.args)
        # One extra row shows whether there is a next page.
        rows = ledger.charges(fields.filters(request.args), after, limit + 1)
        following = str(rows[limit - 1]["position"]) if len(rows) > limit else None
        return {"items": [rules.charge_view(row) for row in rows[:limit]], "next": following}


def _maybe_lose(source: str) -> None:
    if source == tokens.LOST:
        abort(500, "The request succeeded, but its response was lost.")


def _require(key: str) -> None:
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise Unauthorized("The bearer key is missing or wrong.", www_authenticate=WWWAuthenticate("bearer"))


def _once(ledger: Ledger, status: int, act: Callable[[], Row]) -> Response:
    """`act` runs only for a new idempotency key."""
    key = fields.idempotency_key(request.headers)
    content = json.dumps([request.path, fields.body()], sort_keys=True).encode()
    try:
        result, is_replay = ledger.once(key, hashlib.sha256(content).hexdigest(), lambda: json.dumps(act()))
    except KeyReused:
        abort(422, "This Idempotency-Key was already used for a different request.")
    response = Response(result, status, content_type="application/json")
    if is_replay:
        response.headers[REPLAYED] = "true"
    return response
