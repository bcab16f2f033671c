"""The demo order against a stub of the public API, which advances the order with each request."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from launcher import demo
from launcher.errors import LaunchError


class Shop:
    """Responds like the gateway. `statuses`: the order's, one per request."""

    def __init__(self) -> None:
        self.statuses = ["pending", "confirmed"]
        self.stock = 3
        self.ordered: list[dict[str, object]] = []

    def respond(self, method: str, path: str, headers: dict[str, str], body: dict[str, object]) -> tuple[int, object]:
        if path == "/users/register":
            return 201, {"id": "u1", "email": body["email"]}
        if path == "/users/login":
            return 200, {"access_token": "token"}
        if path.startswith("/products/"):
            none, some = {"id": "p0", "name": "Gone", "stock_quantity": 0}, {"id": "p1", "name": "Mug"}
            return 200, {"items": [none, some | {"stock_quantity": self.stock}]}
        if headers.get("Authorization") != "Bearer token":
            return 401, {"title": "Unauthorized"}
        if (method, path) == ("POST", "/orders/"):
            self.ordered.append(body)
            return (201, {"id": "o1"}) if headers.get("Idempotency-Key") else (400, {})
        return 200, self.read(path)

    def read(self, path: str) -> object:
        if path == "/orders/o1":
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            return {"id": "o1", "status": status, "reason": "Declined.", "total_amount": "12.50", "currency": "EUR"}
        if path == "/orders/o1/events":
            times = {"order.placed": "00.000", "stock.reserved": "00.040", "order.confirmed": "00.100"}
            events = [{"type": kind, "occurred_at": f"2026-01-01T00:00:{at}+00:00"} for kind, at in times.items()]
            return {"items": events}
        if path == "/payments/user/u1":
            return {"items": [{"status": "captured"}]}
        mail = {"subject_id": "o1", "subject": "Thank you", "sent_at": "2026-01-01T00:00:00.250+00:00"}
        return {"items": [mail]}


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def url(shop: Shop) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, response = shop.respond(self.command, self.path, dict(self.headers), json.loads(body or "{}"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(response).encode())

        do_POST = do_GET  # noqa: N815 - the base class names it so

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_paid_order_has_its_timeline(shop, url):
    order = demo.place_order(url)
    assert shop.ordered == [{"lines": [{"product_id": "p1", "quantity": 1}], "payment_method": "tok_success"}]
    assert (order.product, order.total) == ("Mug", "12.50 EUR")
    assert [(hop.title, round(hop.milliseconds)) for hop in order.timeline] == [
        ("order.placed", 0),
        ("stock.reserved", 40),
        ("order.confirmed", 60),
        ("mail sent: Thank you", 150),
    ]
    assert round(order.total_milliseconds) == 100


def test_a_cancelled_order_is_reported_with_its_reason(shop, url):
    shop.statuses = ["cancelled"]
    with pytest.raises(LaunchError, match="was cancelled: Declined"):
        demo.place_order(url)


def test_a_stalled_order_is_reported_with_where_to_look(shop, url, monkeypatch):
    shop.statuses = ["pending"]
    monkeypatch.setattr(demo, "FOLLOW_SECONDS", 0.2)
    with pytest.raises(LaunchError, match="souk logs orders"):
        demo.place_order(url)


def test_an_empty_shop_is_reported(shop, url):
    shop.stock = 0
    with pytest.raises(LaunchError, match="No product is in stock"):
        demo.place_order(url)


def test_an_error_of_the_api_is_passed_on(url):
    with pytest.raises(LaunchError, match=r"GET /orders/o1 returned 401: .*Unauthorized"):
        demo.Customer(url).call("GET", "/orders/o1")


def test_an_unavailable_api_is_reported():
    with pytest.raises(LaunchError, match="no valid response"):
        demo.place_order("http://127.0.0.1:1")
