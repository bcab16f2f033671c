"""What is sent again between documents of the backup and PostgreSQL of the moment."""

from datetime import UTC, datetime, timedelta

from chassis.run.resend import MAX_AGE
from contracts.orders import OrderConfirmed, OrderSettledExternally
from contracts.stock import CommitStock
from launcher.backup.agreement import to_send_again

BEGAN_AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
STOCK, MONEY, BOTH = CommitStock.type, OrderSettledExternally.type, OrderConfirmed.type


def test_all_messages_since_a_backup_of_the_day() -> None:
    [(types, since)] = to_send_again(BEGAN_AT, BEGAN_AT + MAX_AGE).items()
    assert {STOCK, MONEY, BOTH} <= {*types}
    assert since == BEGAN_AT


def test_since_an_old_backup_only_what_moves_stock_as_inboxes_forget() -> None:
    """What staff gave back by other means would be booked once more."""
    until = BEGAN_AT + MAX_AGE + timedelta(days=3)
    found = {type_: since for types, since in to_send_again(BEGAN_AT, until).items() for type_ in types}
    assert (found[STOCK], found[BOTH]) == (BEGAN_AT, BEGAN_AT)
    assert found[MONEY] == until - MAX_AGE
