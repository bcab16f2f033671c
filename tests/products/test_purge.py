"""What is old is deleted, and the audit still proves the rest."""

from datetime import timedelta
from uuid import uuid4

from contracts.stock import ReleaseStock, ReserveStock
from services.products.audit import audit
from services.products.models import Basket, Entry, Product, Reservation, ledger
from services.products.purge import KEPT, purge
from tests.products.test_ledger import sell

DAY = timedelta(days=1)


def age(by: timedelta = KEPT + DAY) -> None:
    """Everything so far is that old."""
    for kind, name in ((Entry, "at"), (Reservation, "created_at"), (Basket, "created_at")):
        for document in kind._get_collection().find():
            kind._get_collection().update_one({"_id": document["_id"]}, {"$set": {name: document[name] - by}})


def test_old_orders_and_movements_go_and_the_audit_begins_later(stocked, deliver):
    cups, bowls = stocked(9, 5)
    sell(deliver, cups, 3)
    released = uuid4()
    deliver(ReserveStock(released, {bowls: 2}))
    deliver(ReleaseStock(released))
    ledger.post()
    Basket.put(uuid4(), uuid4(), [cups])
    Basket.close([basket.order_id for basket in Basket.waiting(1)])
    Reservation.objects.update(unsent=[])
    age()
    sell(deliver, cups, 1)
    ledger.post()
    Reservation.objects.update(unsent=[])
    before = Entry.objects.count()
    while purge():
        pass
    assert Entry.objects.count() == 2 < before
    assert (Reservation.objects.count(), Basket.objects.count()) == (1, 0)
    result = audit(timeout_seconds=0)
    assert result.differences == []
    assert (result.counts["received"], result.counts["sold"]) == (14, 4)
    sell(deliver, bowls, 1)
    ledger.post()
    assert audit(timeout_seconds=0).differences == []


def test_the_audit_misses_an_entry_after_the_opening(stocked, deliver):
    (cups,) = stocked(9)
    ledger.post()
    age()
    sell(deliver, cups, 1)
    ledger.post()
    while purge():
        pass
    assert Product.objects.get(id=str(cups)).opening.number == 1
    Entry.objects(number=2).delete()
    assert "the ledger lacks [2]" in "".join(audit(timeout_seconds=0).differences)


def test_the_audit_balances_after_each_batch(stocked, deliver, monkeypatch):
    monkeypatch.setattr("services.products.purge.BATCH", 1)
    (cups,) = stocked(9)
    sell(deliver, cups, 3)
    ledger.post()
    Reservation.objects.update(unsent=[])
    age()
    # By a machine whose clock is behind.
    last = Entry.objects.get(number=3)
    last.update(at=last.at - DAY)
    while purge():
        assert audit(timeout_seconds=0).differences == []
    assert (Reservation.objects.count(), Entry.objects.count()) == (0, 0)


def test_what_was_never_sent_stays(stocked, deliver):
    """The reply to an order, and the news that stock is low."""
    (cups,) = stocked(9)
    order_id = sell(deliver, cups, 5)
    ledger.post()
    age()
    while purge():
        pass
    assert [reservation.order_id for reservation in Reservation.objects] == [str(order_id)]
    [low] = Entry.objects
    assert (low.on_hand_after, len(low.unsent)) == (4, 1)


def test_what_is_still_needed_stays(stocked, deliver):
    (cups,) = stocked(9)
    sell(deliver, cups, 3)
    deliver(ReserveStock(uuid4(), {cups: 2}))
    Basket.put(uuid4(), uuid4(), [cups])
    ledger.post()
    age(KEPT - DAY)
    before = [kind.objects.count() for kind in (Entry, Reservation, Basket)]
    while purge():
        pass
    assert [kind.objects.count() for kind in (Entry, Reservation, Basket)] == before
