"""What `./souk orders show` and `./souk top` tell of a running installation."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

import launcher.commands  # noqa: F401 - importing registers them
from launcher.cli import app
from launcher.stack import Stack
from services.console import figures
from tests.installation import Person, until


@pytest.fixture
def souk(stack: Stack) -> Callable[..., Result]:
    runner = CliRunner(env={"SOUK_STATE_DIR": str(stack.state.path)})
    return lambda *line: runner.invoke(app, line)


def test_an_orders_story_is_told_from_every_store_by_any_of_its_ids(
    souk: Callable[..., Result], person: Callable[[], Person], product: Callable[[int], str]
) -> None:
    leila, request = person(), str(uuid4())
    body = {"lines": [{"product_id": product(3), "quantity": 1}], "payment_method": "tok_success"}
    order = leila.call("POST", "/orders/", body, **{"Idempotency-Key": uuid4().hex, "X-Correlation-ID": request})["id"]

    def story(id_: str) -> list[dict[str, Any]]:
        told = souk("orders", "show", id_, "--json")
        assert told.exit_code == 0, told.output
        return [json.loads(line) for line in told.stdout.splitlines()]

    def events() -> set[tuple[str, str]]:
        return {(entry["program"], entry["event"]) for entry in story(request)}

    whole = {
        *(("orders", event) for event in ("order", "order.placed", "stock.committed", "payment.captured")),
        *(("payments", event) for event in ("money authorized", "money captured")),
        *(("products", event) for event in ("stock hold", "stock sale")),
        *(("notifications", event) for event in ("notification", "delivery attempted")),
    }
    until(lambda: events() >= whole)
    [held] = [entry for entry in story(order) if entry["event"] == "money authorized"]
    assert (held["from"], held["to"], held["amount"]) == ("customer", "held", "12.50 EUR")
    assert story(leila.email)[0]["order_id"] == order
    shown = souk("orders", "show", order).stdout
    assert shown.index("money authorized") < shown.index("money captured")


def test_an_unknown_order_is_a_sentence(souk: Callable[..., Result]) -> None:
    for id_, sentence in (
        (str(uuid4()), "There is no order of"),
        ("abc", "neither a whole id nor an e-mail"),
        ("nobody@example.com", "No account is registered as nobody@example.com"),
    ):
        told = souk("orders", "show", id_)
        assert told.exit_code == 1
        assert sentence in told.stderr


def test_top_shows_every_figure_once(stack: Stack, souk: Callable[..., Result]) -> None:
    if not stack.has("prometheus"):
        pytest.skip("needs apt-get install prometheus")
    shown = souk("top", "--once")
    assert shown.exit_code == 0, shown.output
    for title in ("Stuck orders", "Dead letters"):
        assert title in figures.NUMBERS
        until(lambda title=title: title in souk("top", "--once").stdout)
