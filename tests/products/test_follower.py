"""The search index follows what is written into the database, and drops what is gone."""

import time
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from chassis.base.clock import LEEWAY
from chassis.base.problems import Unavailable
from chassis.storage import mongo
from services.products.models import Product
from services.products.search import follower
from services.products.search.filters import Filters
from services.products.search.finder import Finder
from services.products.search.follower import Follower
from services.products.search.index import Entry, Index, upsert
from tests.small_disk import fill, small_disk

DEADLINE_SECONDS = 60


class Clock:
    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return mongo.now() + self.ahead


@pytest.fixture
def index(tmp_path):
    return Index(tmp_path / "index.sqlite")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=[0, follower.SMALL], ids=["large", "small"])
def finder(request, products, index, clock):
    """Of a catalogue that counts as large, or as small."""
    return Finder(index, Follower(index, clock, small=request.param))


def refreshed(finder):
    """The finder, once it is up to date."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        with suppress(Unavailable):
            finder.refresh(is_changed=True)
            return finder
    raise AssertionError("The index was never built.")


def ids(finder):
    return {
        UUID(place.product_id) for place in refreshed(finder).browse(Filters(is_active=None), "newest", None, 1_000)
    }


def test_it_finds_what_was_there_before_and_what_is_added(finder, stocked):
    made = set(stocked(*[1] * 20))
    assert ids(finder) == made
    made |= set(stocked(1, 1))
    assert ids(finder) == made
    assert finder.categories() == [("kitchen", 22)]


def test_it_catches_up_after_a_long_pause(finder, stocked, clock):
    made = set(stocked(1))
    assert ids(finder) == made
    made |= set(stocked(1))
    clock.ahead = 10 * follower.MAX_AT_ONCE
    assert ids(finder) == made


def test_another_process_continues_with_the_same_file(finder, stocked, index):
    (cups,) = stocked(3)
    assert ids(finder) == {cups}
    other = Finder(Index(index.path), Follower(Index(index.path)))
    assert ids(other) == {cups}
    Product.change(cups, None, is_active=False)
    assert refreshed(other).categories() == []
    # Both read the same file.
    assert finder.categories() == []


def test_a_write_that_arrives_late_is_not_missed(finder, stocked):
    assert ids(finder) == set()
    (cups,) = stocked(1)
    # By a process whose clock is behind.
    late = mongo.now() - timedelta(milliseconds=mongo.OPERATION_TIMEOUT_MILLISECONDS) - LEEWAY
    Product.objects(id=str(cups)).update_one(set__updated_at=late)
    assert ids(finder) == {cups}


def test_an_emptied_or_replaced_database_is_noticed(finder, stocked):
    stocked(1, 1)
    assert len(ids(finder)) == 2
    for name in ("products", "catalogue"):
        Product._get_db()[name].delete_many({})
    (cups,) = stocked(1)
    assert ids(finder) == {cups}
    assert finder.categories() == [("kitchen", 1)]


def test_words_and_categories_without_products_are_dropped(finder, http, add, staff):
    made = add(name="Xylophone", category="music")
    refreshed(finder)
    assert finder.similar("xylofone", 3) == ["xylophone"]
    assert finder.completions("xylo", 3) == ["xylophone"]
    body = {name: made[name] for name in ("sku", "description", "price", "currency")}
    http.put(f"/products/{made['id']}", json={**body, "name": "Drum", "category": "drums"}, headers=staff)
    refreshed(finder)
    assert finder.similar("xylofone", 3) == []
    assert finder.categories() == [("drums", 1)]


def test_an_older_state_never_replaces_a_newer_one(products, index, stocked):
    (cups,) = stocked(1)
    older = Entry.of(Product._get_collection().find_one({"_id": str(cups)}))
    Product.change(cups, None, is_active=False)
    newer = Entry.of(Product._get_collection().find_one({"_id": str(cups)}))
    with index.writing() as writer:
        upsert(writer, [newer])
        upsert(writer, [older])
    assert index.rows("SELECT version, is_active FROM products") == [(2, 0)]
    assert index.rows("SELECT * FROM categories") == []


def test_a_failed_transaction_writes_nothing(index):
    def fail(writer):
        writer.execute("REPLACE INTO state VALUES ('x', ?)", (str(uuid4()),))
        raise ZeroDivisionError

    with suppress(ZeroDivisionError), index.writing() as writer:
        fail(writer)
    assert index.state("x") == ""


def test_on_a_full_disk_the_older_index_is_searched(products, stocked, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        index = Index(disk / "index.sqlite")
        finder = Finder(index, Follower(index))
        made = set(stocked(1, 1))
        assert ids(finder) == made
        ballast = fill(disk)
        added = set(stocked(*[1] * 200))
        assert ids(finder) == made
        ballast.unlink()
        assert ids(finder) == made | added
