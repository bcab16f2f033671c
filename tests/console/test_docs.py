"""The API page: every example works as it stands, and a generated client runs the first order."""

import html
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from launcher.stack import Stack
from services.console.api import SERVICES
from tests.console.conftest import LogIn
from tests.console.test_journey import buy, once
from tests.console.visitor import Page, Visitor
from tests.installation import PASSWORD, new_staff, until
from tests.operations import openapi_url

Sell = Callable[[int], str]

NEEDS_A_SECRET = {
    "users.post_users_token_refresh",
    "users.post_users_password_reset",
    "users.post_users_email_verify",
}
"""Of a mail or a login: nothing that could be written beforehand works."""


FIRST = {
    "users.post_users_register",
    "notifications.put_notifications_user_id_preferences",
    "notifications.post_notifications_user_id_devices",
    # While a refund is under way, an order is not shipped.
    "orders.put_orders_order_id_status",
}
LAST = {"users.put_users_user_id_roles", "orders.post_orders"}
"""What others need, and what they would not survive."""


def sent(visitor: Visitor, path: str, operation: str, /, **fields: str) -> Page:
    """After sending the example of an operation, with these fields changed."""
    page = visitor.get(path)
    [form] = [each for each in page.forms if each.fields.get("operation") == operation]
    return visitor.send(form, **fields)


def status(page: Page) -> int:
    return int(page.body.partition("<p><strong>")[2][:3])


def test_the_api_is_grouped_by_what_a_shop_does_and_explains_its_errors(visitor: Visitor) -> None:
    text = visitor.get("/docs").text
    for part in ("Accounts", "Catalogue", "Orders", "Payments", "Notifications", "Log in first", "Idempotency-Key"):
        assert part in text
    assert "errors names each one" in text
    assert visitor.get("/docs/nothing").status == 404


def test_one_logs_in_first_and_sends_the_example(visitor: Visitor, product: Sell, log_in: LogIn) -> None:
    product(5)
    refused = sent(visitor, "/docs/orders", "orders.post_orders")
    assert status(refused) == 401
    assert "Log in first" in refused.text
    form = visitor.get("/docs").form("/account/demo")
    assert visitor.send(form).url == "/docs"
    placed = sent(visitor, "/docs/orders", "orders.post_orders")
    assert status(placed) == 201, placed.text
    assert '"status": "pending"' in placed.text
    invalid = sent(visitor, "/docs/orders", "orders.post_orders", body="{")
    assert status(invalid) == 400
    assert "JSON that cannot be read" in invalid.text


@pytest.mark.usefixtures("admin")  # There is another, who stays
def test_every_example_works_as_it_stands(stack: Stack, log_in: LogIn, product: Sell) -> None:
    admin = log_in(new_staff(stack, "admin"))
    order = buy(admin, product(5))
    once(admin, order.url, "Confirmed", "Captured")
    failed, count = {}, 0
    for service in SERVICES:
        forms = admin.get(f"/docs/{service}").forms
        found = [form.fields["operation"] for form in forms if "body" in form.fields]
        for operation in sorted(found, key=lambda each: (each in LAST, each not in FIRST)):
            page = sent(admin, f"/docs/{service}", operation)
            count += 1
            if operation not in NEEDS_A_SECRET and not status(page) < 300:
                failed[operation] = html.unescape(
                    page.body.partition('aria-label="Response"')[2].partition("</pre>")[0]
                )
    assert not failed, "\n".join(f"{operation}: {text}" for operation, text in failed.items())
    assert count > 20


def test_what_is_sent_stays_within_its_operation(customer: Visitor) -> None:
    escaped = sent(customer, "/docs/orders", "orders.get_orders_order_id", **{"path.order_id": "../../users/me"})
    assert status(escaped) == 404
    assert "email" not in escaped.body.partition("<pre")[2]
    other = sent(customer, "/docs/orders", "orders.get_orders", operation="orders.get_internal")
    assert other.status == 404


def test_a_generated_client_runs_the_first_order(stack: Stack, product: Sell, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    content = requests.get(openapi_url(stack), timeout=30).json()
    assert content["openapi"].startswith("3.1")
    document.write_text(json.dumps(content))
    settings = tmp_path / "settings.yaml"
    settings.write_text("post_hooks: []\npackage_name_override: souk_client\n")
    command = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--path", str(document)]
    command += ["--config", str(settings), "--meta", "none", "--output-path", str(tmp_path / "souk_client")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # It leaves out what it does not understand.
    assert "WARNING" not in done.stdout + done.stderr
    sys.path.insert(0, str(tmp_path))
    try:
        order = _first_order(stack.gateway_url, product(5))
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "souk_client"]:
            del sys.modules[name]
    assert order.status == "confirmed"


def _first_order(url: str, product_id: str) -> Any:
    client, models = importlib.import_module("souk_client.client"), importlib.import_module("souk_client.models")

    def operation(tag: str, name: str) -> Any:
        return importlib.import_module(f"souk_client.api.{tag}.{name}").sync

    anyone = client.Client(base_url=url, timeout=30)
    name = f"leila.{uuid4().hex[:10]}"
    account = {"email": f"{name}@example.com", "password": PASSWORD}
    register = operation("accounts", "users_post_users_register")
    assert register(client=anyone, body=models.UsersNewUser.from_dict({**account, "username": name})).id
    tokens = operation("accounts", "users_post_users_login")(
        client=anyone, body=models.UsersCredentials.from_dict(account)
    )
    leila = client.AuthenticatedClient(base_url=url, token=tokens.access_token, timeout=30)
    lines = [{"product_id": product_id, "quantity": 1}]
    body = models.OrdersNewOrder.from_dict({"lines": lines, "payment_method": "tok_success"})
    order = operation("orders", "orders_post_orders")(client=leila, body=body, idempotency_key=uuid4().hex)
    read = operation("orders", "orders_get_orders_order_id")
    return until(lambda: found if (found := read(order.id, client=leila)).status != "pending" else None)


def test_the_page_holds_no_inline_script_or_style_and_loads_nothing_from_elsewhere(customer: Visitor) -> None:
    for path in ("/docs", *(f"/docs/{service}" for service in SERVICES)):
        page = customer.get(path)
        assert page.status == 200
        assert "<style" not in page.body
        assert page.body.count("<script") == page.body.count('<script src="/assets/')
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert len(page.body) < 100_000


@pytest.mark.parametrize("path", ["/docs", "/docs/orders"])
def test_without_the_document_the_page_says_so(path: str) -> None:
    from services.console.app import create_app
    from services.console.settings import ConsoleSettings

    app = create_app(ConsoleSettings.use(session_keys=["A" * 43 + "="], openapi_url="http://127.0.0.1:9/openapi.json"))
    assert "The edge does not respond" in app.test_client().get(path).text
