"""What is true of a customer's orders: asked of every database, the bank and the mailbox themselves, not of our API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pymongo
import urllib3
from sqlalchemy import Engine, create_engine, text

from launcher.stack import Stack
from tests.installation import until


@dataclass(frozen=True)
class Expected:
    """How an order of `quantity` pieces has to end."""

    quantity: int
    status: str
    is_sold: bool
    """Whether the pieces are the customer's in the end; else they are on hand again."""
    captured: int
    """What the bank took, in minor units."""
    refunded: int = 0
    """What it gave back of that."""


class Truth:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._pool = urllib3.PoolManager(timeout=10, retries=False)

    def comes_right(self, received: int, expected: Mapping[str, Mapping[str, Expected]], seconds: float) -> None:
        """`expected`: endings by order, by the product of which the order takes pieces, and of which so many were received.

        Raises AssertionError, with what is still wrong, once that has not changed for so many seconds.
        """
        wrong: list[str] = ["not looked yet"]

        def has_moved() -> bool:
            before = list(wrong)
            wrong[:] = self._restless()
            if not wrong:
                wrong[:] = [each for product in expected.items() for each in self._wrong(received, *product)]
            return wrong != before

        while wrong:
            try:
                until(has_moved, seconds)
            except AssertionError:
                raise AssertionError("; ".join(wrong[:20])) from None

    def untold(self, user_id: str) -> int:
        """Messages to this person that are still to be sent."""
        query = "SELECT count(*) FROM notifications WHERE user_id = :id AND status NOT IN ('sent', 'suppressed')"
        count: int = self._rows("notifications", query, id=user_id)[0][0]
        return count

    def orders_of(self, user_id: str) -> int:
        count: int = self._rows("orders", "SELECT count(*) FROM orders WHERE user_id = :id", id=user_id)[0][0]
        return count

    # --- inside

    def _wrong(self, received: int, product_id: str, expected: Mapping[str, Expected]) -> Iterable[str]:
        yield from self._stock(product_id, received, expected.values())
        for order_id, ending in expected.items():
            for each in (*self._order(order_id, ending), *self._mails(order_id)):
                yield f"order {order_id}: {each}"

    @cached_property
    def _engines(self) -> dict[str, Engine]:
        urls = self._stack.backing.databases
        return {
            name: create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1)) for name, url in urls.items()
        }

    @cached_property
    def _mongo(self) -> Any:
        return pymongo.MongoClient(self._stack.backing.mongo).get_default_database()

    def _rows(self, service: str, query: str, **values: object) -> list[Any]:
        with self._engines[service].connect() as connection:
            return list(connection.execute(text(query), values))

    def _restless(self) -> Iterable[str]:
        """Messages that wait to be sent."""
        for service in self._engines:
            table = "events" if service == "orders" else "outbox"
            if count := self._rows(service, f"SELECT count(*) FROM {table} WHERE sent_at IS NULL")[0][0]:
                yield f"{service}: {count} unsent"
        for collection in ("reservations", "stock_ledger"):
            if count := self._mongo[collection].count_documents({"unsent.occurred_at": {"$gt": ""}}):
                yield f"products: {count} unsent in {collection}"

    def _stock(self, product_id: str, received: int, endings: Iterable[Expected]) -> Iterable[str]:
        product = self._mongo["products"].find_one({"_id": product_id})
        held = sum(hold["quantity"] for hold in product.get("holds", ()))
        sold = sum(ending.quantity for ending in endings if ending.is_sold)
        if product["stock_quantity"] + held + product["sold_quantity"] != received:
            yield f"stock: {product['stock_quantity']} on hand + {held} held + {product['sold_quantity']} sold, received {received}"
        if (held, product["sold_quantity"]) != (0, sold):
            yield f"stock: {held} held and {product['sold_quantity']} sold, expected 0 and {sold}"

    def _order(self, order_id: str, ending: Expected) -> Iterable[str]:
        status = self._rows("orders", "SELECT status FROM orders WHERE id = :id", id=order_id)[0].status
        if status != ending.status:
            yield f"is {status}, expected {ending.status}"
        payments = self._rows("payments", "SELECT id, status FROM payments WHERE order_id = :id", id=order_id)
        charges = [charge for payment in payments for charge in self._charges(str(payment.id))]
        if len(payments) > 1 or len(charges) > 1:
            yield f"{len(payments)} payments, {len(charges)} charges"
        taken = sum(charge["amount_captured"] for charge in charges)
        returned = sum(charge["amount_refunded"] for charge in charges)
        if (taken, returned) != (ending.captured, ending.refunded):
            yield f"the bank took {taken} and gave back {returned}, expected {ending.captured} and {ending.refunded}"
        if ending.captured == 0 and any(charge["status"] == "authorized" for charge in charges):
            yield "money is still blocked at the bank"

    def _charges(self, payment_id: str) -> list[dict[str, Any]]:
        services = self._stack.services
        url = services.environment("payments", 0)["SOUK_SANDBOX_URL"]
        key = self._stack.installation.secrets.get("sandbox-key")
        headers = {"Authorization": f"Bearer {key}"}
        answer = self._pool.request("GET", f"{url}/charges?reference={payment_id}", headers=headers)
        return list(answer.json()["items"])

    def _mails(self, order_id: str) -> Iterable[str]:
        """A fact is told once a channel; a mail server may see a mail twice, then with one Message-ID."""
        rows = self._rows(
            "notifications",
            "SELECT kind, channel, status, count(*) AS times FROM notifications WHERE subject_id = :id GROUP BY 1, 2, 3",
            id=order_id,
        )
        if not rows:
            yield "nobody was told"
        for row in rows:
            if row.status not in ("sent", "suppressed") or row.times != 1:
                yield f"{row.kind} by {row.channel}: {row.times} times {row.status}"
