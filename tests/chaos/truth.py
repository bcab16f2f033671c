"""The state of a customer's orders, read from the databases, the bank and the mailbox, not from our API."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from functools import cached_property
from pathlib import Path
from typing import Any

import pymongo
import urllib3
from sqlalchemy import Connection, Engine, create_engine, text

from chassis.messaging import broker
from chassis.messaging.dead_letters import DeadLetterQueue
from contracts.orders import OrderConfirmed
from launcher.manifests import SERVICES
from launcher.stack import Stack
from services.orders.models.steps import RETRY_POLICIES
from tests.installation import until

_APPS = [importlib.import_module(f"services.{name}.app").service for name in SERVICES]
HANDLERS = {app.name: app.handlers.by_type for app in _APPS if app.handlers is not None}
RECEIVERS = {
    type_: [name for name, handled in HANDLERS.items() if type_ in handled]
    for type_ in {type_ for handled in HANDLERS.values() for type_ in handled}
}
"""Services by the type of message that they handle."""


@dataclass(frozen=True)
class Expected:
    """How an order of `quantity` units has to end."""

    quantity: int
    status: str
    is_sold: bool
    """Whether the units are sold in the end; otherwise they are back on hand."""
    captured: int
    """Minor units that the bank took."""
    notified: frozenset[str]
    """Types of the facts that the customer has a mail about."""
    refunded: int = 0
    """Minor units that the bank gave back."""


class Truth:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._mails = stack.installation.state.data / "mails" / "new"
        self._message_ids: dict[Path, str] = {}
        self._pool = urllib3.PoolManager(timeout=10, retries=False)

    def comes_right(
        self,
        received: int,
        expected: Mapping[str, Mapping[str, Expected]],
        seconds: float,
        may_repeat: bool = False,
    ) -> None:
        """Wait until all orders have ended as expected.

        received: initial stock of each product. expected: endings by order, by product. may_repeat: whether replies may be
        lost, so that commands are repeated. Raises AssertionError with what is wrong, once that has not changed for `seconds`.
        """
        wrong: list[str] = ["not checked yet"]

        def has_moved() -> bool:
            before = list(wrong)
            wrong[:] = self._unsent()
            if not wrong:
                wrong[:] = [
                    each for product in expected.items() for each in self._wrong(received, *product, may_repeat)
                ]
            return wrong != before

        while wrong:
            try:
                until(has_moved, seconds)
            except AssertionError:
                raise AssertionError("; ".join([*wrong[:20], *self._dead_letters()])) from None

    def is_all_sent(self) -> bool:
        """Whether no outbox holds an unsent message."""
        return not any(self._unsent())

    def unsent_mails(self, user_id: str) -> int:
        """Number of notifications to this person that are not sent yet."""
        query = "SELECT count(*) FROM notifications WHERE user_id = :id AND status NOT IN ('sent', 'suppressed')"
        count: int = self._rows("notifications", query, id=user_id)[0][0]
        return count

    def orders_of(self, user_id: str) -> int:
        count: int = self._rows("orders", "SELECT count(*) FROM orders WHERE user_id = :id", id=user_id)[0][0]
        return count

    def mail_attempts(self, order_id: str) -> tuple[int, int]:
        """The most attempts that a mail about this order took, and the most copies of one in the mailbox."""
        mails = self._mails_about(order_id)
        return max(mail.attempts for mail in mails), max(map(self._copies, mails))

    def connect(self, service: str) -> Connection:
        return self._engines[service].connect()

    # --- inside

    def _wrong(
        self, received: int, product_id: str, expected: Mapping[str, Expected], may_repeat: bool
    ) -> Iterable[str]:
        yield from self._stock(product_id, received, expected.values())
        for order_id, ending in expected.items():
            for each in (
                *self._order(order_id, ending),
                *self._notified(order_id, ending.notified),
                *self._lost(order_id),
                *(() if may_repeat else self._reminders(order_id)),
            ):
                yield f"order {order_id}: {each}"

    @cached_property
    def _engines(self) -> dict[str, Engine]:
        urls = self._stack.backing.databases
        return {
            name: create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1)) for name, url in urls.items()
        }

    @cached_property
    def _mongo(self) -> Any:
        return pymongo.MongoClient(self._stack.backing.mongo["products"]).get_default_database()

    def _rows(self, service: str, query: str, **values: object) -> list[Any]:
        # A third of the round trips: in a cluster they take a way through kubectl.
        with self.connect(service).execution_options(isolation_level="AUTOCOMMIT") as connection:
            return list(connection.execute(text(query), values))

    def _unsent(self) -> Iterable[str]:
        """Unsent messages."""
        for service in self._engines:
            table = "events" if service == "orders" else "outbox"
            if count := self._rows(service, f"SELECT count(*) FROM {table} WHERE sent_at IS NULL")[0][0]:
                yield f"{service}: {count} unsent"
        for collection in ("reservations", "stock_ledger"):
            if count := self._mongo[collection].count_documents({"unsent.occurred_at": {"$gt": ""}}):
                yield f"products: {count} unsent in {collection}"

    def _lost(self, order_id: str) -> Iterable[str]:
        """Messages about the order that a receiver has not handled.

        products has neither an outbox nor an inbox of ids: that it handled a command shows in the order, which waits for the
        reply and is not helped by a reminder here; that it handled a fact shows in what it learned from it.
        """
        for message_id, type_ in [
            *self._rows(
                "orders", "SELECT id, type FROM events WHERE stream = :id AND sent_at <> occurred_at", id=order_id
            ),
            *self._rows(
                "payments", "SELECT id, type FROM outbox WHERE subject = :id AND type NOT LIKE 'task.%'", id=order_id
            ),
        ]:
            for service in RECEIVERS.get(type_, ()):
                if service in self._engines:
                    found = self._rows(service, "SELECT 1 FROM inbox WHERE message_id = :id", id=message_id)
                elif type_ == OrderConfirmed.type:
                    found = self._mongo["baskets"].find_one({"_id": order_id, "is_counted": True})
                else:
                    continue
                if not found:
                    yield f"{type_} {message_id} was not handled by {service}"

    def _reminders(self, order_id: str) -> Iterable[str]:
        """Commands that were repeated: what souk_deadline_reminders_total counts, as it stands in the order's events."""
        query = """
            SELECT type, count(*) FROM events WHERE stream = :id AND type = ANY(:commands)
            GROUP BY type, data->>'refund_id' HAVING count(*) > 1
        """
        commands = [command.type for command in RETRY_POLICIES]
        for type_, count in self._rows("orders", query, id=order_id, commands=commands):
            yield f"{type_} was sent {count} times"

    def _dead_letters(self) -> Iterable[str]:
        for service in HANDLERS:
            queue = broker.dead_letter_queue(service).name
            for letter in DeadLetterQueue(self._stack.backing.broker, queue, service).letters():
                yield f"{letter.type} {letter.id} is a dead letter of {service}: {letter.error}"

    def _stock(self, product_id: str, received: int, endings: Iterable[Expected]) -> Iterable[str]:
        product = self._mongo["products"].find_one({"_id": product_id})
        held = sum(hold["quantity"] for hold in product.get("holds", ()))
        sold = sum(ending.quantity for ending in endings if ending.is_sold)
        if product["stock_quantity"] + held + product["sold_quantity"] != received:
            yield f"stock: {product['stock_quantity']} on hand + {held} held + {product['sold_quantity']} sold, received {received}"
        if (held, product["sold_quantity"]) != (0, sold):
            yield f"stock: {held} held and {product['sold_quantity']} sold, expected 0 and {sold}"

    def _order(self, order_id: str, ending: Expected) -> Iterable[str]:
        [order] = self._rows("orders", "SELECT status, due_at, stuck_at FROM orders WHERE id = :id", id=order_id)
        if order.status != ending.status:
            yield f"is {order.status}, expected {ending.status}"
        if order.due_at or order.stuck_at:
            yield "is stuck" if order.stuck_at else "awaits a reply"
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
        key = self._stack.installation.secrets["sandbox-key"]
        headers = {"Authorization": f"Bearer {key}"}
        response = self._pool.request("GET", f"{url}/charges?reference={payment_id}", headers=headers)
        return list(response.json()["items"])

    def _notified(self, order_id: str, facts: frozenset[str]) -> Iterable[str]:
        """One mail per fact; the mailbox may have it twice, with one Message-ID."""
        mails = self._mails_about(order_id)
        if sorted(mail.kind for mail in mails) != sorted(facts):
            yield f"mails about {sorted(mail.kind for mail in mails)}, expected {sorted(facts)}"
        for mail in mails:
            if mail.status != "sent" or not self._copies(mail):
                yield f"the mail about {mail.kind} is {mail.status}, {self._copies(mail)} in the mailbox"

    def _mails_about(self, order_id: str) -> list[Any]:
        query = "SELECT id, kind, status, attempts FROM notifications WHERE subject_id = :id AND channel = 'email'"
        return self._rows("notifications", query, id=order_id)

    def _copies(self, mail: Any) -> int:
        for path in set(self._mails.iterdir()) - self._message_ids.keys():
            self._message_ids[path] = str(BytesHeaderParser().parsebytes(path.read_bytes())["Message-ID"])
        return sum(str(mail.id) in message_id for message_id in self._message_ids.values())
