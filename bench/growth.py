"""Placing, lists, analytics and a rebuild among few orders and among a million, with as many products as a large shop.

The orders are copies of one that was placed, paid and settled, over two years.
"""

import argparse
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

import mongoengine
import pymongo
from flask.testing import FlaskClient
from rich.console import Console
from sqlalchemy import Connection, create_engine, text

import services.orders
from bench import _services
from bench._measure import Series, measure, show
from bench.products import catalogue
from chassis.base import telemetry
from chassis.messaging.envelope import Envelope
from chassis.run import web_app, worker
from chassis.run.testing import System, bearer
from chassis.storage import store
from contracts.orders import Line, OrderPlaced
from contracts.payments import PaymentAuthorized, PaymentCaptured
from contracts.stock import StockCommitted, StockReserved
from services.orders import projector, saga
from services.orders.app import service
from services.orders.rebuild import rebuild
from services.products.app import service as products

SMALL = 1_000
USERS = 20_000
CALLS = 100
BATCH = 20_000

console = Console(highlight=False, width=110)

_MADE = (
    "WITH made AS (SELECT n, md5('order' || n)::uuid AS id, md5('user' || n % :users)::uuid AS user_id,"
    " make_interval(secs => n * 63072000.0 / :orders) AS age FROM generate_series(:first, :last) n)"
)
_EVENTS = (
    "INSERT INTO events (id, stream, version, type, data, meta, occurred_at, sent_at)"
    " SELECT gen_random_uuid(), made.id, version, type,"
    " replace(replace(data::text, :template, made.id::text), :user, made.user_id::text)::jsonb,"
    " meta, occurred_at - age, now() FROM made, events WHERE stream = CAST(:template AS uuid)"
)
_ORDERS = (
    "INSERT INTO orders ({columns}) SELECT {values} FROM made, orders AS template"
    " WHERE template.id = CAST(:template AS uuid)"
)
_CHANGED = {
    "id": "made.id",
    "user_id": "made.user_id",
    **{name: f"template.{name} - age" for name in ("created_at", "updated_at", "confirmed_at")},
}


@dataclass(frozen=True)
class Template:
    order: uuid.UUID
    user: uuid.UUID


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench growth", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders (1000000)")
    parser.add_argument("--products", type=int, default=100_000, help="products (100000)")
    given = parser.parse_args()
    telemetry.configure_logging("bench", "error")
    results: dict[str, list[Series]] = {}
    with ExitStack() as running:
        url = running.enter_context(_services.postgres())
        product, products_url = running.enter_context(_products(given.products))
        _configure(url, products_url)
        template = _template()
        filled = 1
        for size in (SMALL, given.orders):
            taken = _fill(url, template, filled, size, given.orders)
            filled = size + 1
            console.print(f"{size:,} orders after {taken:.0f} s more.")
            # Also tells the projector that it has seen them.
            _rebuild(url)
            for name, call in _shapes(template, product).items():
                measure("warm-up", call, 5)
                results.setdefault(name, []).append(measure(f"among {size:,} orders", call, CALLS))
        for name, series in results.items():
            show(name, series)
        service.store.close()  # type: ignore[attr-defined]


@contextmanager
def _products(count: int) -> Iterator[tuple[str, str]]:
    """A product's id and the service's URL."""
    settings = {**_services.products_environment(), "SOUK_API_CALLERS": _services.API_CALLERS}
    products.settings_class.use(mongo_url=settings["SOUK_MONGO_URL"], log_level="error")
    _ = products.store
    made = catalogue(count, random.Random(1))
    with pymongo.timeout(600):
        while batch := list(islice(made, 1_000)):
            mongoengine.get_db()["products"].insert_many(batch, ordered=False)
        product = str(mongoengine.get_db()["products"].find_one()["_id"])
    with _services.serving("products", settings, seeded=False) as url:
        yield product, url


def _configure(url: str, products_url: str) -> None:
    service.settings_class.use(
        database_url=url,
        jwt_keys={"bench": _services.SECRET},
        services={"products": products_url},
        api_key=_services.API_KEY,
        log_level="error",
    )
    service.store.migrate(services.orders)


def _template() -> Template:
    template = Template(uuid.uuid4(), uuid.uuid4())
    lines = [Line(uuid.uuid4(), "Copper kettle", 2, 1_250, "kitchen")]
    payment = uuid.uuid4()
    with store.active(service.store), service.store.transaction():
        saga.place(OrderPlaced(template.order, template.user, lines, 2_500, "EUR", "tok_success"))
    system = System([service])
    for message in (
        StockReserved(template.order),
        PaymentAuthorized(template.order, payment),
        StockCommitted(template.order),
        PaymentCaptured(template.order, payment, 2_500, "EUR"),
    ):
        assert worker.receive(service, Envelope.of(message, "bench").to_json(), {}) is None
    system.drain()
    return template


def _fill(url: str, template: Template, first: int, last: int, orders: int) -> float:
    """Seconds it took."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    started = time.perf_counter()
    for start in range(first, last + 1, BATCH):
        values = {"template": str(template.order), "users": USERS, "orders": orders}
        values |= {"first": start, "last": min(start + BATCH - 1, last)}
        with engine.begin() as connection:
            connection.execute(text(f"{_MADE} {_EVENTS}"), {**values, "user": str(template.user)})
            connection.execute(text(f"{_MADE} {_orders_of(connection)}"), values)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
    return time.perf_counter() - started


def _orders_of(connection: Connection) -> str:
    query = text(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' AND table_schema = 'public'"
    )
    names = [name for (name,) in connection.execute(query)]
    values = ", ".join(_CHANGED.get(name, f"template.{name}") for name in names)
    return _ORDERS.format(columns=", ".join(names), values=values)


def _shapes(template: Template, product: str) -> dict[str, Callable[[], object]]:
    client = web_app.build(service).test_client()
    customer = bearer(service, template.user)
    staff = bearer(service, uuid.uuid4(), "staff")

    def get(path: str, headers: Mapping[str, str]) -> Callable[[], object]:
        return lambda: _checked(client, path, headers)

    def place() -> None:
        lines = [{"product_id": product, "quantity": 1}]
        response = client.post(
            "/orders/",
            json={"lines": lines, "payment_method": "tok_success"},
            headers={**customer, "Idempotency-Key": uuid.uuid4().hex},
        )
        assert response.status_code == 201, response.text

    return {
        "placing an order": place,
        "one order": get(f"/orders/{template.order}", customer),
        "a customer's orders": get("/orders/", customer),
        "staff: all orders": get("/orders/?limit=20", staff),
        "staff: pending orders": get("/orders/?status=pending&limit=20", staff),
        "staff: stuck orders": get("/orders/?stuck=true&limit=20", staff),
        "staff: analytics of 30 days": get("/orders/analytics", staff),
        "the projector, with nothing new": _project,
    }


def _checked(client: FlaskClient, path: str, headers: Mapping[str, str]) -> None:
    response = client.get(path, headers=dict(headers))
    assert response.status_code == 200, response.text


def _project() -> None:
    with store.active(service.store), service.store.transaction():
        projector.project()


def _rebuild(url: str) -> None:
    started = time.perf_counter()
    count = rebuild(url)
    seconds = time.perf_counter() - started
    console.print(f"A rebuild of {count:,} orders took {seconds:.1f} s: {count / seconds:,.0f} orders a second.")


if __name__ == "__main__":
    main()
