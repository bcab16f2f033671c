"""CPU per read, against the same handler in bare Flask on granian, and the gateway's own CPU per request.

An order (PostgreSQL) and a cached product (Redis), with request logs. `quick` does a tenth.
"""

import os
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import urllib3
from flask import Flask, Response
from rich.console import Console
from rich.table import Table

from bench import _services
from bench._edges import free_port
from bench._load import Plan, drive
from bench._measure import Series
from chassis.base.settings import Settings
from chassis.run import web_server
from chassis.security import tokens
from chassis.security.auth import Caller
from chassis.storage import store
from contracts.orders import Line, OrderPlaced
from contracts.reasons import Reader
from services.gateway.config.render import render, values_of
from services.gateway.settings import Limits, RenderSettings

CLIENTS = 8
USER = uuid.uuid4()
KONG_YML = Path(__file__).parents[1] / "kong" / "kong.yml"
ENDLESS = Limits(enter=10**8, anonymous=10**8, token=10**8, partner=10**8)


@dataclass
class Subject:
    name: str
    port: int
    pid: int
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)
    processor_seconds: float = 0.0

    def measure(self, seconds: float) -> None:
        before = self._spent()
        outcome = drive(Plan(self.port, CLIENTS, seconds, self.path, self.headers))
        self.processor_seconds += self._spent() - before
        assert set(outcome.statuses) == {"200"}, (self.name, outcome.statuses)
        self.milliseconds += outcome.milliseconds

    @property
    def microseconds(self) -> float:
        return self.processor_seconds / len(self.milliseconds) * 1e6

    def _spent(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


def main() -> None:
    with ExitStack() as running:
        groups = _subjects(running)
        subjects = [subject for group in groups for subject in group]
        for subject in subjects:
            subject.measure(0.5)
            subject.milliseconds, subject.processor_seconds = [], 0.0
        # Alternate, so that other load affects all alike.
        for _ in range(2 if "quick" in sys.argv[1:] else 10):
            for subject in subjects:
                subject.measure(1.0)
    _show(groups)


def _show(groups: list[list[Subject]]) -> None:
    table = Table("what", "CPU µs", "p50 ms", "p99 ms", "bare / ours", title="A read", title_justify="left")
    for group in groups:
        for each in group:
            series = Series(each.name, each.milliseconds)
            ratio = f"{group[0].microseconds / each.microseconds:.2f}" if group[0].name.startswith("bare") else ""
            numbers = [f"{series.percentile(percent):.2f}" for percent in (50, 99)]
            table.add_row(each.name, f"{each.microseconds:.0f}", *numbers, ratio, end_section=each is group[-1])
    Console(highlight=False).print(table)


def _subjects(running: ExitStack) -> list[list[Subject]]:
    orders = _services.environment(SOUK_DATABASE_URL=running.enter_context(_services.postgres()), SOUK_LOG_LEVEL="info")
    products = _services.environment(**_services.products_environment(), SOUK_LOG_LEVEL="info")
    folder = running.enter_context(tempfile.TemporaryDirectory())
    products["SOUK_SEARCH_DIRECTORY"] = folder
    _services.migrate("orders", orders)
    _services.migrate("products", products)
    ports: dict[str, int] = {}

    def start(name: str, module: list[str], settings: dict[str, str]) -> Callable[..., Subject]:
        url, pid = running.enter_context(_services.program(module, settings))
        ports[name] = urlsplit(url).port or 0
        return lambda title, path, headers: Subject(title, ports[name], pid, path, headers or {})

    bare_orders = start("bare orders", ["bench.reads", "orders"], orders | {"BENCH_USER": str(USER)})
    bare_products = start("bare products", ["bench.reads", "products"], products)
    ours_orders = start("orders", ["chassis", "web", "services.orders"], orders)
    ours_products = start("products", ["chassis", "web", "services.products"], products)
    gateway = start("gateway", ["services.gateway"], _gateway(ports, Path(folder)))

    settings = Settings(jwt_keys={"bench": _services.SECRET})
    token = {"Authorization": f"Bearer {tokens.sign(USER, ['customer'], settings).text}"}
    listed = urllib3.request("GET", f"http://127.0.0.1:{ports['products']}/products/?limit=1").json()
    product = f"/products/{listed['items'][0]['id']}"
    order = f"/orders/{_place(orders['SOUK_DATABASE_URL'])}"
    return [
        [bare_orders("bare: an order", order, token), ours_orders("an order, with a token", order, token)],
        [
            bare_products("bare: a cached product", product, {}),
            ours_products("a cached product", product, {}),
            ours_products("a cached product, with a token", product, token),
        ],
        [
            gateway("gateway: a cached product", product, {}),
            gateway("gateway: a cached product, with a token", product, token),
        ],
    ]


def _gateway(ports: dict[str, int], folder: Path) -> dict[str, str]:
    """Runs kong/kong.yml, with its log and with limits that nobody reaches."""
    admin_port, file = free_port(), folder / "kong.yml"
    services = {name: f"http://127.0.0.1:{ports[name]}" for name in ("orders", "products")}
    services |= dict.fromkeys(("users", "payments", "notifications"), "http://127.0.0.1:1")
    settings = RenderSettings(
        admin_port=admin_port,
        jwt_keys={"bench": _services.SECRET},
        redis_url=os.environ["SOUK_TEST_REDIS_URL"],
        services=services,
        rate_limits=ENDLESS,
        edge_log="/dev/null",
    )
    file.write_text(render(KONG_YML, values_of(settings)))
    return {**os.environ, "SOUK_ADMIN_PORT": str(admin_port), "SOUK_KONG_FILE": str(file), "SOUK_LOG_LEVEL": "warning"}


def _place(database_url: str) -> uuid.UUID:
    from services.orders import saga
    from services.orders.app import service

    service.settings_class.use(database_url=database_url, jwt_keys={"bench": _services.SECRET})
    lines = [Line(uuid.uuid4(), "Copper kettle", 2, 1_250, "kitchen"), Line(uuid.uuid4(), "Bowl", 1, 800, "kitchen")]
    with store.active(service.store), service.store.transaction():
        return saga.place(OrderPlaced(uuid.uuid4(), USER, lines, 3_300, "EUR", "tok_success")).id


def bare(kind: str) -> None:
    """The handler's own work, and Flask."""
    app = Flask(kind)
    if kind == "orders":
        from services.orders.app import service
        from services.orders.models import Order
        from services.orders.schemas import OrderView

        caller = Caller(uuid.UUID(os.environ["BENCH_USER"]), frozenset({"customer"}))

        @app.get("/orders/<uuid:order_id>")
        def one_order(order_id: uuid.UUID) -> Response:
            with service.store.transaction():
                view = OrderView.of(Order.visible_to(caller, order_id), Reader.of(caller))
                return Response(view.model_dump_json(), content_type="application/json")
    else:
        from services.products import cache
        from services.products.app import service
        from services.products.models import Product
        from services.products.schemas import ProductView

        @app.get("/products/<uuid:product_id>")
        def one_product(product_id: uuid.UUID) -> Response:
            def read() -> bytes:
                return ProductView.model_validate(Product.get(product_id)).model_dump_json().encode()

            found = cache.catalogue().get(cache.product_key(product_id), cache.FRESH_SECONDS, read)
            return Response(found.body, content_type="application/json")

    _ = service.store
    web_server.run(app, service.settings)


if __name__ == "__main__":
    if sys.argv[1:2] in (["orders"], ["products"]):
        bare(sys.argv[1])
    else:
        main()
