"""Projections rebuilt from the events are identical, also while orders go on."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from chassis.run.service import Service
from chassis.storage import store
from services.orders.models import Order
from services.orders.rebuild import PROJECTIONS, rebuild
from services.orders.refund import refund
from tests.orders.conftest import Deliver, confirming, fresh_key, fulfilling, order_of, project, project_all

Product = Callable[..., dict[str, Any]]


def dump(orders: Service) -> dict[str, str]:
    """Every projection's rows and schema, as PostgreSQL writes them."""
    shape = (
        "SELECT indexdef FROM pg_indexes WHERE tablename IN ({names}) UNION ALL"
        " SELECT concat(table_name, column_name, column_default, is_nullable, data_type, numeric_scale)"
        " FROM information_schema.columns WHERE table_name IN ({names}) UNION ALL"
        " SELECT conname::text FROM pg_constraint WHERE contype = 'p' ORDER BY 1"
    ).format(names=", ".join(f"'{name}'" for name in PROJECTIONS))
    queries = {name: f"SELECT * FROM {name} AS row ORDER BY row" for name in PROJECTIONS} | {"shape": shape}
    dumps = {}
    with orders.store.engine.connect() as connection:
        for name, query in queries.items():
            with connection.connection.cursor() as cursor:
                cursor.execute(f"SELECT t::text FROM ({query}) AS t")
                dumps[name] = "".join(f"{row}\n" for (row,) in cursor)
    return dumps


@pytest.fixture
def order_ids(
    orders: Service, http: FlaskClient, product: Product, customer: dict[str, str], deliver: Deliver
) -> list[UUID]:
    """Orders at every stage of their life."""
    kettle, tea = product(), product(name="Mint tea", category="food")
    body = order_of((kettle, 1), (tea, 1))
    ids = [UUID(http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"]) for _ in range(5)]
    for id_ in ids[1:]:
        deliver(*confirming(id_))
    for id_ in ids[2:]:
        deliver(*fulfilling(id_))
    http.delete(f"/orders/{ids[3]}", headers=customer)
    with store.active(orders.store), orders.store.transaction():
        refund(Order.get_for_update(ids[4]), 300)
    project_all(orders)
    return ids


def test_a_rebuild_gives_the_same_bytes(orders: Service, order_ids: list[UUID]) -> None:
    before = dump(orders)
    assert before["orders"].count("\n") == 5
    assert before["analytics_products"].count("\n") == 2
    assert rebuild(orders.settings.database_url) == 5
    assert dump(orders) == before


def test_a_rebuild_repairs_corrupted_projections(orders: Service, order_ids: list[UUID], deliver: Deliver) -> None:
    before = dump(orders)
    with orders.store.engine.begin() as connection:
        connection.execute(text("UPDATE orders SET status = 'delivered', version = 99"))
        connection.execute(text("DELETE FROM analytics_days"))
        connection.execute(text("UPDATE projections SET transaction_id = '99999999999'"))
    rebuild(orders.settings.database_url)
    assert dump(orders) == before
    deliver(*fulfilling(order_ids[1]))
    project_all(orders)
    assert dump(orders)["analytics_days"] == before["analytics_days"]


@pytest.fixture
def busy(
    orders: Service, http: FlaskClient, product: Product, customer: dict[str, str], deliver: Deliver
) -> Iterator[Callable[[], None]]:
    """Place and confirm orders until it is called; it then fails if one of them failed."""
    stopping, placed, failed = threading.Event(), threading.Event(), []
    body = order_of((product(stock_quantity=1_000), 1))

    def work() -> None:
        try:
            while not stopping.is_set():
                id_ = UUID(http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"])
                deliver(*confirming(id_))
                project(orders)
                placed.set()
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    assert placed.wait(30)

    def stop() -> None:
        stopping.set()
        worker.join()
        assert failed == []

    yield stop
    stopping.set()
    worker.join()


def test_orders_go_on_while_it_rebuilds(orders: Service, order_ids: list[UUID], busy: Callable[[], None]) -> None:
    for _ in range(3):
        rebuild(orders.settings.database_url)
    busy()
    project_all(orders)
    after = dump(orders)
    rebuild(orders.settings.database_url)
    assert dump(orders) == after


def test_a_failed_rebuild_changes_nothing(orders: Service, order_ids: list[UUID]) -> None:
    before = dump(orders)
    with orders.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE events RENAME COLUMN data TO hidden"))
    try:
        with pytest.raises(Exception, match="data"):
            rebuild(orders.settings.database_url)
    finally:
        with orders.store.engine.begin() as connection:
            connection.execute(text("ALTER TABLE events RENAME COLUMN hidden TO data"))
    assert dump(orders) == before
    with orders.store.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_namespace WHERE nspname = 'rebuilt'")) == 0


def test_rebuild_is_a_command_of_the_service(orders: Service, order_ids: list[UUID]) -> None:
    before = dump(orders)
    done = subprocess.run(
        [sys.executable, "-m", "services.orders.commands", "rebuild"],
        env={"SOUK_DATABASE_URL": orders.settings.database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("Rebuilt 5 orders and their analytics"), done.stderr
    assert dump(orders) == before
