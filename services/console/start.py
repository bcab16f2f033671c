"""The start page: what runs, where, and a demo order at the push of a button."""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from chassis.base.problems import Problem
from chassis.clients import Client, Policy
from chassis.clients.peers import Request
from services.console import account, api, person, prometheus
from services.console.cache import cached
from services.console.pages import Pages
from services.console.settings import ConsoleSettings

pages = Pages("start", __name__)

CACHE_SECONDS = 3.0

# A service that hangs must not hold up the page.
_probes = {name: Client(name, Policy(timeout_seconds=1.0, try_seconds=1.0, tries=1)) for name in api.SERVICES}

WHAT = {
    "users": "Accounts, logins, roles",
    "products": "Catalogue, search, stock",
    "orders": "Orders, their saga, analytics",
    "payments": "Charges, refunds, ledger",
    "notifications": "Mail, SMS, push",
}


@pages.page("/", allow="anyone")
def home() -> str:
    who = person.current()
    if ConsoleSettings.current().is_development or (who is not None and who.is_staff):
        return render_template("start.html", services=services(), programs=programs(), what=WHAT)
    return render_template("welcome.html")


@pages.page("/demo", allow="anyone", methods=("POST",))
def demo() -> Response:
    """A new customer, logged in here, buys something in stock. Development only."""
    settings = ConsoleSettings.current()
    if not settings.is_development:
        abort(404)
    if person.current() is None:
        account.sign_up()
    products = api.get("/products/", limit=100, in_stock="true", sort="popular")["items"]
    if not products:
        abort(400, "No product is in stock.")
    lines = [{"product_id": products[secrets.randbelow(min(len(products), 20))]["id"], "quantity": 1}]
    order = api.post("/orders/", {"lines": lines, "payment_method": "tok_success"}, key=request.form.get("key", ""))
    return redirect(url_for("orders.show", order_id=order["id"]), 303)


@cached(CACHE_SECONDS)
def services() -> dict[str, dict[str, str]]:
    """By service: {check: outcome}, empty if it does not respond."""
    with ThreadPoolExecutor(len(_probes)) as pool:
        return dict(zip(_probes, pool.map(_checks, _probes.values()), strict=True))


def _checks(client: Client) -> dict[str, str]:
    try:
        response = client.send(Request("/health/ready", {}, takes_errors=True), ConsoleSettings.current())
        checks: dict[str, str] = json.loads(response.data)["checks"]
        return checks or {"process": "ok"}
    except (Problem, ValueError, KeyError):
        return {}


@cached(CACHE_SECONDS)
def programs() -> list[dict[str, Any]]:
    """All that Prometheus watches: name and whether it is up. Empty without Prometheus."""
    found = prometheus.ours()('min by (program) ({__name__=~"up|pg_up|redis_up"})')
    rows = [{"name": each["metric"].get("program", ""), "is_up": each["value"][1] == "1"} for each in found or []]
    return sorted(rows, key=lambda row: (row["is_up"], row["name"]))
