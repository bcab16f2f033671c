"""A user's orders move to another database while customers order, whatever is killed, and nothing is lost or there twice."""

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

import services.orders
from chassis.base import clock, failpoints
from chassis.messaging.consumer import DeadLetter, Retry
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.messaging.relay import Relay
from chassis.run import web_app, worker
from chassis.run.service import Service
from chassis.run.testing import bearer
from chassis.storage import store
from chassis.storage.postgres import Database
from chassis.storage.postgres_store import PostgresStore
from contracts.payments import PaymentAuthorized, PaymentCaptured
from contracts.stock import StockCommitted, StockReserved
from services.orders import deadlines, projector
from services.orders.rebuild import PROJECTIONS, rebuild
from services.orders.sharding import __main__ as sharding
from services.orders.sharding.move import AlreadyMoving, Differs, GivenUp, Mover, NotDrained
from services.orders.sharding.shards import NotPrepared, Shards, WrongShard
from tests.installation import until
from tests.orders.conftest import fresh_key, order_of

CUSTOMERS = 3
PRICE = 1250
STEPS = ("begin", "ahead", "close", "copy", "switch", "open", "leave", "end")
"""Those that commit."""

ENOUGH = 5
"""Orders before, between and after."""

POLL_SECONDS = 0.02
PAUSE_SECONDS = 0.5
"""Between a customer's orders: each is checked in the end."""


class Placed(NamedTuple):
    order: str
    key: dict[str, str]


class Cell:
    """The service's programs on one shard."""

    def __init__(self, orders: Service, name: str, url: str) -> None:
        self.name, self.url = name, url
        self.service = copy.copy(orders)
        self.store = PostgresStore(url, 8, orders.name, orders.events)
        self.service.__dict__["store"] = self.store
        self.store.migrate(services.orders)
        self.app = web_app.build(self.service)

    def ask(self, query: str, **values: Any) -> list[Any]:
        with self.store.engine.connect() as connection:
            return [*connection.execute(text(query), values)]

    def do(self, statement: str) -> None:
        with self.store.engine.begin() as connection:
            connection.execute(text(statement))

    def project(self) -> None:
        with store.active(self.store), self.store.transaction():
            projector.project()

    def sums(self) -> tuple[int, int]:
        """Orders placed and revenue, in the analytics."""
        self.project()
        [row] = self.ask("SELECT coalesce(sum(placed), 0), coalesce(sum(revenue), 0) FROM analytics_days")
        return tuple(map(int, row))

    def projections(self) -> dict[str, list[str]]:
        return {name: [str(row) for row in self.ask(f"SELECT * FROM {name} AS t ORDER BY t")] for name in PROJECTIONS}


@dataclass
class World:
    """Customers who order, and who answers what the orders ask for. Both look at the map each time."""

    cells: dict[str, Cell]
    shards: Shards
    body: dict[str, Any]
    headers: dict[UUID, dict[str, str]]
    placed: dict[UUID, list[Placed]] = field(default_factory=dict)
    refused: Counter[UUID] = field(default_factory=Counter)
    sent: list[Envelope] = field(default_factory=list)
    replies: list[Envelope] = field(default_factory=list)
    waiting: deque[Envelope] = field(default_factory=deque)
    captured: int = 0
    errors: list[BaseException] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def place(self, user: UUID, key: dict[str, str]) -> Any:
        cell = self.cells[self.shards.of_user(user)]
        return cell.app.test_client().post("/orders/", json=self.body, headers=self.headers[user] | key)

    def order(self, user: UUID) -> None:
        """Again and again with the same key, until it is there."""
        key = fresh_key()
        while (response := self.place(user, key)).status_code >= 500:
            self.refused[user] += "database" in response.text
            if self.stopping.wait(0.02):
                return
        assert response.status_code == 201, response.text
        self.placed.setdefault(user, []).append(Placed(response.json["id"], key))

    def turn(self) -> int:
        """Send and answer once. Returns how much there was."""
        return self.send() + self.answer()

    def send(self) -> int:
        done = 0
        for cell in self.cells.values():
            done += Relay(cell.store.source, self._take).send_batch()
            cell.project()
        return done

    def answer(self) -> int:
        done = 0
        for _ in range(len(self.waiting)):
            try:
                envelope = self.waiting.popleft()
            except IndexError:  # Another thread answers, too.
                break
            if isinstance(self.deliver(envelope), Retry):
                self.waiting.append(envelope)
            else:
                done += 1
        return done

    def deliver(self, envelope: Envelope) -> Any:
        name = self.shards.of_order(UUID(envelope.subject))
        assert name is not None, envelope
        verdict = worker.receive(self.cells[name].service, envelope.to_json(), {})
        assert verdict is None or isinstance(verdict, Retry), verdict
        return verdict

    def start(self) -> None:
        def repeat(work: Callable[[], object]) -> None:
            try:
                while not self.stopping.is_set():
                    work()
            except BaseException as error:
                self.errors.append(error)
                self.stopping.set()

        works: list[Callable[[], object]] = [
            lambda: self.send() or self.stopping.wait(POLL_SECONDS),
            lambda: self.answer() or self.stopping.wait(POLL_SECONDS),
            *(lambda user=user: self.order(user) or self.stopping.wait(PAUSE_SECONDS) for user in self.headers),
        ]
        self.threads = [threading.Thread(target=repeat, args=[work]) for work in works]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Returns when nobody orders, sends or answers any more: what they had in hand is done."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors

    def await_orders(self, user: UUID, more: int = ENOUGH) -> None:
        wanted = len(self.placed.get(user, ())) + more
        until(lambda: self.errors or len(self.placed.get(user, ())) >= wanted)
        assert not self.errors, self.errors

    def settle(self) -> None:
        until(lambda: not self.turn() and not self.waiting)

    def _take(self, envelopes: Sequence[Envelope]) -> Iterator[Envelope]:
        for envelope in envelopes:
            self.sent.append(envelope)
            if (reply := self._reply(envelope.type, UUID(envelope.subject))) is not None:
                answer = Envelope.of(reply, "test")
                self.replies.append(answer)
                self.waiting.append(answer)
            yield envelope

    def _reply(self, type_: str, order: UUID) -> Message | None:
        match type_:
            case "stock.reserve":
                return StockReserved(order)
            case "payment.authorize":
                return PaymentAuthorized(order, uuid4())
            case "stock.commit":
                return StockCommitted(order)
            case "payment.capture":
                self.captured += PRICE
                return PaymentCaptured(order, uuid4(), PRICE, "EUR")
        return None


@pytest.fixture
def world(
    orders: Service, product: Callable[..., dict[str, Any]], make_database: Callable[[str], str]
) -> Iterator[World]:
    cells = {name: Cell(orders, name, make_database(f"orders_{name}")) for name in ("first", "second")}
    shards = Shards({name: Database(cell.url) for name, cell in cells.items()}, "first")
    shards.prepare()
    users = [uuid4() for _ in range(CUSTOMERS)]
    headers = {user: bearer(orders, user) for user in users}
    yield World(cells, shards, order_of((product(stock_quantity=1_000), 1)), headers)
    shards.close()
    for cell in cells.values():
        cell.store.close()


@pytest.fixture
def rush(world: World) -> Iterator[World]:
    """While customers order."""
    world.start()
    yield world
    world.stop()


@pytest.fixture
def mover(world: World, tmp_path: Path) -> Callable[..., int]:
    """Runs the program; returns its exit code. at: where it is killed."""
    file, points = tmp_path / "shards.json", tmp_path / "failpoints"
    points.mkdir()
    databases = {name: cell.url for name, cell in world.cells.items()}
    file.write_text(json.dumps({"home": "first", "shards": databases}))

    def run(*arguments: str, at: str = "") -> int:
        if at:
            (points / failpoints.file_of(f"orders-sharding: {at}")).touch()
        command = [sys.executable, "-m", "services.orders.sharding", file, "--linger-seconds", "0", *arguments]
        return subprocess.run(
            command, env={**os.environ, "SOUK_FAILPOINTS_DIRECTORY": str(points)}, check=False, timeout=120
        ).returncode

    return run


def all_is_right(world: World) -> None:
    """Nothing is lost, nothing is there twice, and the sums agree."""
    world.settle()
    rows = {
        name: cell.ask("SELECT id, user_id, status, captured_amount, version FROM orders")
        for name, cell in world.cells.items()
    }
    # Each order is there once, where the map says, paid.
    promised = {each.order: user for user, placed in world.placed.items() for each in placed}
    found = [str(row.id) for of_shard in rows.values() for row in of_shard]
    assert len(found) == len({*found})
    assert {*promised} == {*found}
    for name, of_shard in rows.items():
        for row in of_shard:
            assert promised[str(row.id)] == row.user_id
            assert world.shards.of_user(row.user_id) == name
            assert (row.status, row.captured_amount) == ("confirmed", PRICE / 100)
    assert sum(row.captured_amount for of_shard in rows.values() for row in of_shard) == world.captured / 100
    # Each event is there once, without gaps, and each that had to be sent was sent once.
    events = [row for cell in world.cells.values() for row in cell.ask("SELECT * FROM events")]
    assert len({row.id for row in events}) == len(events)
    versions = Counter(row.stream for row in events)
    assert all(versions[row.id] == row.version for of_shard in rows.values() for row in of_shard)
    assert all(row.sent_at is not None for row in events)
    assert sorted(each.id for each in world.sent) == sorted(row.id for row in events if row.sent_at != row.occurred_at)
    # What was handled is known to be, and requests are answered as they were.
    for reply in world.replies:
        world.deliver(reply)
    for user, placed in world.placed.items():
        for each in placed:
            assert world.place(user, each.key).json["id"] == each.order
    assert len(events) == sum(cell.ask("SELECT count(*) FROM events")[0][0] for cell in world.cells.values())
    # The sums of each shard are those of its own orders, as a rebuild has them.
    for name, cell in world.cells.items():
        count = len(rows[name])
        until(lambda cell=cell, right=(count, count * PRICE): cell.sums() == right)
        before = cell.projections()
        rebuild(cell.url)
        assert cell.projections() == before


@pytest.mark.long
def test_a_user_moves_while_customers_order_and_the_mover_is_killed_at_every_step(
    rush: World, mover: Callable[..., int]
) -> None:
    user, *others = rush.headers
    rush.await_orders(user)
    arguments = ["move", str(user), "second"]
    for step in STEPS:
        for when in ("commit", "committed"):
            assert mover(*arguments, at=f"{step}: {when}") == -signal.SIGKILL, (step, when)
            # Nobody else waits for it.
            rush.await_orders(others[0], more=1)
    assert mover("finish") == 0
    assert rush.shards.of_user(user) == "second"
    rush.await_orders(user)
    assert rush.refused[user]
    rush.stop()
    all_is_right(rush)
    assert rush.cells["first"].ask("SELECT 1 FROM orders WHERE user_id = :user", user=user) == []


def test_a_user_moves_there_and_back(rush: World) -> None:
    user = next(iter(rush.headers))
    for to in ("second", "first"):
        rush.await_orders(user)
        began = time.monotonic()
        # Who looked at the map before is done by then.
        Mover(rush.shards, linger_seconds=1).move(user, to)
        print(f"To {to} in {time.monotonic() - began:.2f} s.")
    rush.await_orders(user)
    rush.stop()
    all_is_right(rush)
    assert rush.cells["second"].ask("SELECT 1 FROM orders") == []


def test_a_move_is_given_up_where_messages_are_not_sent(world: World) -> None:
    user = next(iter(world.headers))
    world.order(user)
    with pytest.raises(NotDrained):
        Mover(world.shards, drain_seconds=0, linger_seconds=0).move(user, "second")
    world.order(user)
    assert world.shards.of_user(user) == "first"
    world.settle()
    Mover(world.shards, linger_seconds=0).move(user, "second")
    all_is_right(world)


def test_a_copy_that_differs_is_not_kept(world: World) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    second = world.cells["second"]
    second.do(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.total_amount := NEW.total_amount + 0.01; RETURN NEW; END $$"
    )
    second.do("CREATE TRIGGER spoil BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION spoil()")
    with pytest.raises(Differs, match="orders"):
        Mover(world.shards, linger_seconds=0).move(user, "second")
    assert second.ask("SELECT 1 FROM orders") == []
    world.order(user)
    all_is_right(world)


def test_a_move_that_cannot_be_made_leaves_the_user_where_they_are(world: World) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    second = world.cells["second"]
    second.do("ALTER TABLE operator_actions RENAME TO away")
    with pytest.raises(GivenUp, match="does not exist"):
        Mover(world.shards, linger_seconds=0).move(user, "second")
    world.order(user)
    assert world.shards.of_user(user) == "first"
    second.do("ALTER TABLE away RENAME TO operator_actions")
    world.settle()
    mover = Mover(world.shards, linger_seconds=0)
    mover.finish(user)
    assert mover.unfinished() == []
    mover.move(user, "second")
    all_is_right(world)


@pytest.mark.parametrize("at", ["close", "copy"])
def test_an_aborted_move_brings_the_user_back(world: World, mover: Callable[..., int], at: str) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    assert mover("move", str(user), "second", at=f"{at}: committed") == -signal.SIGKILL
    # What has arrived is counted there.
    world.settle()
    assert mover("abort", str(user)) == 0
    assert world.shards.of_user(user) == "first"
    world.order(user)
    assert world.cells["second"].ask("SELECT 1 FROM orders UNION ALL SELECT 1 FROM events") == []
    all_is_right(world)
    Mover(world.shards, linger_seconds=0).move(user, "second")
    all_is_right(world)


@pytest.mark.long
def test_an_abort_that_is_killed_at_every_step_comes_to_the_same_end(rush: World, mover: Callable[..., int]) -> None:
    user = next(iter(rush.headers))
    rush.await_orders(user)
    assert mover("move", str(user), "second", at="copy: committed") == -signal.SIGKILL
    assert mover("abort", str(user), at="turn back: committed") == -signal.SIGKILL
    for step in ("open", "leave", "end"):
        assert mover("finish", at=f"{step}: commit") == -signal.SIGKILL, step
    assert mover("finish") == 0
    rush.await_orders(user)
    rush.stop()
    all_is_right(rush)
    assert rush.cells["second"].ask("SELECT 1 FROM orders") == []


def test_one_database_is_no_two_shards(world: World) -> None:
    """A move from it to itself would end with the deletion of what it had copied."""
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    twice = Shards({**world.shards.databases, "second": Database(world.cells["first"].url)}, "first")
    for use in (twice.prepare, lambda: Mover(twice, linger_seconds=0).move(user, "second")):
        with pytest.raises(WrongShard, match="prepared as first"):
            use()
    twice.databases["second"].close()
    assert Mover(world.shards).unfinished() == []
    all_is_right(world)


def test_an_abort_brings_the_user_back_though_the_other_shard_is_away(world: World, mover: Callable[..., int]) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    assert mover("move", str(user), "second", at="close: committed") == -signal.SIGKILL
    away = Shards({**world.shards.databases, "second": Database("postgresql://127.0.0.1:1/none")}, "first")
    with pytest.raises(GivenUp, match="is back at first"):
        Mover(away).abort(user)
    world.order(user)
    assert mover("finish") == 0
    assert Mover(world.shards).unfinished() == []
    all_is_right(world)


@pytest.mark.parametrize(
    "content", ["{", "{}", "[]", '{"home": "third", "shards": {}}', '{"home": "a", "shards": {"a": "b"}}', None]
)
def test_a_file_of_shards_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "shards.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit, match="cannot be used"):
        sharding.main([str(file), "finish"])


def test_a_user_whom_the_map_has_sent_on_is_not_brought_back(world: World, mover: Callable[..., int]) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    assert mover("move", str(user), "second", at="switch: committed") == -signal.SIGKILL
    with pytest.raises(AlreadyMoving, match="finish that move"):
        Mover(world.shards).abort(user)
    assert mover("finish") == 0
    all_is_right(world)


def test_of_two_movers_one_waits_for_the_other(world: World) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    home = world.shards.map.engine
    with ThreadPoolExecutor() as threads, home.connect() as held:
        # It comes as far as leaving the source.
        held.execute(text("SELECT 1 FROM projections WHERE name = 'analytics' FOR UPDATE"))
        first = threads.submit(Mover(world.shards, linger_seconds=0).move, user, "second")
        until(lambda: world.shards.of_user(user) == "second")
        with pytest.raises(AlreadyMoving):
            Mover(world.shards, linger_seconds=0).finish(user)
        held.rollback()
        first.result()
    Mover(world.shards, linger_seconds=0).move(user, "first")
    all_is_right(world)


def test_a_message_for_an_order_on_its_way_waits(world: World) -> None:
    user, other = list(world.headers)[:2]
    for each in (user, other):
        world.order(each)
    world.cells["first"].do(f"INSERT INTO shard_fences VALUES ('{user}', '{uuid4()}')")
    world.turn()
    assert [UUID(each.subject) for each in world.waiting if each.type == "stock.reserved"] != []
    world.turn()
    assert {each.subject for each in world.waiting} == {world.placed[user][0].order}
    world.cells["first"].do("DELETE FROM shard_fences")
    all_is_right(world)


def test_what_was_answered_and_what_operators_did_wait_with_the_orders(world: World) -> None:
    """They would be written after they were copied, and deleted when the user has left."""
    user, other = list(world.headers)[:2]
    for each in (user, other):
        world.order(each)
    world.settle()
    first = world.cells["first"]
    ours, theirs = (world.placed[each][0].order for each in (user, other))
    first.do(f"INSERT INTO shard_fences VALUES ('{user}', '{uuid4()}')")
    for caller, route in ((user, "POST /orders"), (uuid4(), f"POST /orders/{ours.upper()}/refunds")):
        with pytest.raises(OperationalError, match="another shard"):
            first.do(answered(caller, route))
    with pytest.raises(OperationalError, match="another shard"):
        first.do(acted(ours))
    for caller, route in ((other, "POST /orders"), (user, f"POST /orders/{theirs}/refunds"), ("anyone:1", "POST /")):
        first.do(answered(caller, route))
    for subject in (theirs, "a dead letter"):
        first.do(acted(subject))


def test_the_key_of_a_refund_stays_with_the_order_and_not_with_who_asked(world: World) -> None:
    staff, customer = list(world.headers)[:2]
    for each in (staff, customer):
        world.order(each)
    world.settle()
    order = world.placed[customer][0].order
    world.cells["first"].do(answered(staff, f"POST /orders/{order.upper()}/refunds"))
    found = "SELECT 1 FROM idempotency WHERE route LIKE '%/refunds'"
    for user, home in ((staff, "first"), (customer, "second")):
        Mover(world.shards, linger_seconds=0).move(user, "second")
        assert [name for name, cell in world.cells.items() if cell.ask(found)] == [home]


def test_what_was_answered_to_who_has_no_order_moves_too(world: World) -> None:
    user = next(iter(world.headers))
    world.cells["first"].do(answered(user, "POST /orders"))
    Mover(world.shards, linger_seconds=0).move(user, "second")
    assert [name for name, cell in world.cells.items() if cell.ask("SELECT 1 FROM idempotency")] == ["second"]


def answered(caller: object, route: str) -> str:
    return (
        "INSERT INTO idempotency (caller, route, key_hash, request_hash, created_at)"
        f" VALUES ('{caller}', '{route}', '{uuid4().hex}', '', now())"
    )


def acted(subject: str) -> str:
    values = f"'{uuid4()}', '{uuid4()}', 'resume order', '{subject}', 'a test', now()"
    return f"INSERT INTO operator_actions (id, by, name, subject, why, at) VALUES ({values})"


def test_late_orders_on_their_way_wait_without_an_alarm(world: World) -> None:
    user, other = list(world.headers)[:2]
    for each in (user, other):
        world.order(each)
    world.send()
    first = world.cells["first"]
    first.do(f"INSERT INTO shard_fences VALUES ('{user}', '{uuid4()}')")
    with capture_logs() as logs, store.active(first.store), first.store.transaction():
        deadlines.watch(clock.now() + timedelta(hours=1), seconds=60)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []
    reminded = "SELECT DISTINCT stream FROM events WHERE type = 'stock.reserve' AND version > 2"
    assert [str(row.stream) for row in first.ask(reminded)] == [world.placed[other][0].order]


def test_many_late_orders_on_their_way_do_not_hold_up_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = list(world.headers)[:2]
    for each in (user, user, user, other):
        world.order(each)
    world.send()
    first = world.cells["first"]
    first.do(f"INSERT INTO shard_fences VALUES ('{user}', '{uuid4()}')")
    monkeypatch.setattr(deadlines, "BATCH", 2)
    with store.active(first.store), first.store.transaction():
        deadlines.watch(clock.now() + timedelta(hours=1), seconds=60)
    reminded = "SELECT stream FROM events WHERE type = 'stock.reserve' AND version > 2"
    assert [str(row.stream) for row in first.ask(reminded)] == [world.placed[other][0].order]


def test_a_late_message_for_an_order_that_has_left_waits_to_be_led_there(world: World) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.send()
    Mover(world.shards, linger_seconds=0).move(user, "second")
    first = world.cells["first"].service
    [late] = world.waiting
    assert isinstance(worker.receive(first, late.to_json(), {}), Retry)
    of_nobody = Envelope.of(StockReserved(uuid4()), "test")
    assert isinstance(worker.receive(first, of_nobody.to_json(), {}), DeadLetter)
    all_is_right(world)
    Mover(world.shards, linger_seconds=0).move(user, "first")
    assert world.cells["first"].ask("SELECT 1 FROM shard_departures") == []
    all_is_right(world)


@pytest.mark.parametrize(
    "before",
    [
        "DROP TABLE shard_name",
        "ALTER TABLE shard_name DROP COLUMN prepared_as",
        "UPDATE shard_name SET prepared_as = 'a release before'",
    ],
)
def test_a_database_that_another_release_has_prepared_is_prepared_again_before_a_move(
    world: World, before: str
) -> None:
    user = next(iter(world.headers))
    world.order(user)
    world.settle()
    world.cells["second"].do(before)
    with pytest.raises(NotPrepared, match="shard second has not been prepared by this release: run `prepare` first"):
        Mover(world.shards, linger_seconds=0).move(user, "second")
    world.shards.prepare()
    Mover(world.shards, linger_seconds=0).move(user, "second")
    all_is_right(world)
