"""Commands of the products service to MongoDB, timed in this process on a seeded database."""

import os
import tempfile
import uuid

import pymongo.monitoring
from flask.testing import FlaskClient
from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

import services.products
from bench import _services
from chassis.run import web_app
from chassis.run.testing import bearer
from chassis.storage import store
from services.products import recommendations, reservations
from services.products.app import service
from services.products.bulk import files
from services.products.models import Basket, ledger


class Timings(pymongo.monitoring.CommandListener):
    """`milliseconds`: by command and collection."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = {}
        self._collections: dict[int, str] = {}

    def started(self, event: CommandStartedEvent) -> None:
        collection = event.command.get("collection" if event.command_name == "getMore" else event.command_name, "")
        self._collections[event.request_id] = str(collection)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        name = f"{event.command_name} {self._collections.pop(event.request_id, '')}"
        self.milliseconds.setdefault(name, []).append(event.duration_micros / 1_000)

    def failed(self, event: CommandFailedEvent) -> None:
        self._collections.pop(event.request_id, None)


def timings(rounds: int) -> dict[str, list[float]]:
    """Each round reads everything, and sells a product."""
    listener = Timings()
    pymongo.monitoring.register(listener)
    with tempfile.TemporaryDirectory() as folder:
        service.settings_class.use(
            mongo_url=_services.products_environment()["SOUK_MONGO_URL"],
            redis_url=os.environ["SOUK_TEST_REDIS_URL"],
            jwt_keys={"bench": _services.SECRET},
            search_directory=folder,
            log_level="error",
        )
        service.store.migrate(services.products)
        with store.active(service.store):
            files.seed()
        listener.milliseconds.clear()
        client = web_app.build(service).test_client()
        for _ in range(rounds):
            _round(client)
    return listener.milliseconds


def _round(client: FlaskClient) -> None:
    staff = bearer(service, uuid.uuid4(), "staff")
    listed = client.get("/products/?limit=20", headers=staff).json
    assert listed is not None
    product_id = uuid.UUID(listed["items"][0]["id"])
    of = f"/products/{product_id}"
    for path in ("/products/search?q=copper", "/products/categories", of, f"{of}/recommendations", f"{of}/stock"):
        client.get(path, headers=staff)
    client.get(f"{of}/stock-movements", headers=staff)
    order_id = uuid.uuid4()
    with store.active(service.store):
        reservations.reserve(order_id, {product_id: 1})
        reservations.commit(order_id)
        Basket.put(order_id, uuid.uuid4(), [product_id])
        ledger.post()
        recommendations.learn()
        reservations.expire()
