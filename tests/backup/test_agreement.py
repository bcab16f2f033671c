"""What is sent again between documents of the backup and PostgreSQL of the moment."""

from datetime import UTC, datetime, timedelta

from chassis.run.resend import MAX_AGE
from contracts.orders import OrderConfirmed, OrderSettledExternally
from contracts.stock import CommitStock
from launcher.backup.agreement import to_send_again

BEGAN_AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
STOCK, MONEY, BOTH = CommitStock.type, OrderSettledExternally.type, OrderConfirmed.type


def test_all_messages_since_a_backup_of_the_day() -> None:
    [again] = to_send_again(BEGAN_AT, BEGAN_AT + MAX_AGE)
    assert {STOCK, MONEY, BOTH} <= {*again.types}
    assert (again.since, again.to) == (BEGAN_AT, "")


def test_since_an_old_backup_only_to_products_as_inboxes_forget() -> None:
    """What staff gave back by other means would be booked once more, and a customer hear of an order of last week."""
    until = BEGAN_AT + MAX_AGE + timedelta(days=3)
    old, recent = to_send_again(BEGAN_AT, until)
    assert {STOCK, BOTH} <= {*old.types}
    assert MONEY not in old.types
    assert (old.since, old.until, old.to) == (BEGAN_AT, until - MAX_AGE, "products")
    assert {STOCK, MONEY, BOTH} <= {*recent.types}
    assert (recent.since, recent.to) == (until - MAX_AGE, "")
