"""The search index in a file comes to know all that was written into the database, and forgets what is gone."""

import time
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from chassis.base.problems import Unavailable
from chassis.storage import mongo
from services.products.finding import follow
from services.products.finding.finder import Filters
from services.products.finding.follow import Follower
from services.products.finding.index import Index
from services.products.finding.local import LocalFinder
from services.products.models import Product

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


@pytest.fixture(params=[0, follow.SMALL], ids=["large", "small"])
def local(request, products, index, clock):
    """A finder of a catalogue that counts as large, or as small."""
    return LocalFinder(index, Follower(index, clock, small=request.param))


def refreshed(finder):
    """The finder, once it is up to date."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        with suppress(Unavailable):
            finder.refresh(is_changed=True)
            return finder
    raise AssertionError("It was never built.")


def ids(finder):
    return {
        UUID(place.product_id) for place in refreshed(finder).browse(Filters(is_active=None), "newest", None, 1_000)
    }


def test_it_knows_what_was_there_and_what_came(local, stocked):
    made = set(stocked(*[1] * 20))
    assert ids(local) == made
    made |= set(stocked(1, 1))
    assert ids(local) == made
    assert local.categories() == [("kitchen", 22)]


def test_it_wakes_after_a_long_sleep(local, stocked, clock):
    made = set(stocked(1))
    assert ids(local) == made
    made |= set(stocked(1))
    clock.ahead = 10 * follow.AT_ONCE
    assert ids(local) == made


def test_another_process_goes_on_with_the_same_file(local, stocked, index):
    (cups,) = stocked(3)
    assert ids(local) == {cups}
    other = LocalFinder(Index(index.path), Follower(Index(index.path)))
    assert ids(other) == {cups}
    Product.change(cups, None, is_active=False)
    assert refreshed(other).categories() == []
    # What one process found out, the file tells both.
    assert local.categories() == []


def test_a_write_that_arrives_late_is_not_missed(local, stocked):
    assert ids(local) == set()
    (cups,) = stocked(1)
    late = mongo.now() - timedelta(milliseconds=mongo.OPERATION_TIMEOUT_MILLISECONDS)
    Product.objects(id=str(cups)).update_one(set__updated_at=late)
    assert ids(local) == {cups}


def test_a_database_that_was_emptied_or_exchanged_is_noticed(local, stocked):
    stocked(1, 1)
    assert len(ids(local)) == 2
    for name in ("products", "catalogue"):
        Product._get_db()[name].delete_many({})
    (cups,) = stocked(1)
    assert ids(local) == {cups}
    assert local.categories() == [("kitchen", 1)]


def test_words_and_categories_that_no_product_has_any_more_are_gone(local, http, add, staff):
    made = add(name="Xylophone", category="music")
    refreshed(local)
    assert local.similar("xylofone", 3) == ["xylophone"]
    assert local.completions("xylo", 3) == ["xylophone"]
    body = {name: made[name] for name in ("sku", "description", "price", "currency")}
    http.put(f"/products/{made['id']}", json={**body, "name": "Drum", "category": "drums"}, headers=staff)
    refreshed(local)
    assert local.similar("xylofone", 3) == []
    assert local.categories() == [("drums", 1)]


def test_an_older_state_never_replaces_a_newer_one(products, index, stocked):
    from services.products.finding.index import Entry, keep

    (cups,) = stocked(1)
    older = Entry.of(Product._get_collection().find_one({"_id": str(cups)}))
    Product.change(cups, None, is_active=False)
    newer = Entry.of(Product._get_collection().find_one({"_id": str(cups)}))
    with index.writing() as writer:
        keep(writer, [newer])
        keep(writer, [older])
    assert index.rows("SELECT version, is_active FROM products") == [(2, 0)]
    assert index.rows("SELECT * FROM categories") == []


def test_what_failed_in_the_middle_was_not_written(index):
    def fail(writer):
        writer.execute("REPLACE INTO state VALUES ('x', ?)", (str(uuid4()),))
        raise ZeroDivisionError

    with suppress(ZeroDivisionError), index.writing() as writer:
        fail(writer)
    assert index.state("x") == ""
