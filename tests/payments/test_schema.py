"""The migrations match the models and convert existing rows."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from chassis.storage import migrate
from services import payments as payments_package
from services.payments.models.base import Base


def test_the_migrated_tables_are_those_of_the_models(payments):
    with payments.store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": of_payments, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def of_payments(item, name, kind, reflected, compare_to):
    """Leave out the chassis's tables, and indexes, which only the migrations define."""
    return kind not in ("table", "index") or (kind == "table" and name in Base.metadata.tables)


OLD = """
INSERT INTO payments (amount, currency, payment_method, status, goal, provider, captures_at_once, asked_at)
VALUES (:amount, 'EUR', 'tok_success', :status, :status, 'sandbox', false, now())
"""


def test_payments_from_before_the_ledger_are_posted_to_it(make_database):
    url = make_database("old_payments")
    migrate.upgrade(payments_package, url, "0001")
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    statuses = ("pending", "authorized", "captured", "declined", "voided", "failed")
    with engine.begin() as connection:
        connection.execute(text(OLD), [{"amount": "12.50", "status": status} for status in statuses])
        connection.execute(text(OLD), {"amount": 0, "status": "voided"})
    migrate.upgrade(payments_package, url)
    with engine.connect() as connection:
        query = "SELECT status, account, sum(entry.amount) FROM ledger_entries entry JOIN payments ON payments.id = payment_id"
        balances = connection.execute(text(f"{query} GROUP BY 1, 2 HAVING sum(entry.amount) <> 0 ORDER BY 1, 2")).all()
        assert connection.scalar(text("SELECT sum(amount) FROM ledger_entries")) == 0
        assert connection.scalar(text("SELECT count(*) FROM payments WHERE sent_at IS DISTINCT FROM asked_at")) == 0
    assert [tuple(row) for row in balances] == [
        ("authorized", "customer", -1250),
        ("authorized", "held", 1250),
        ("captured", "captured", 1250),
        ("captured", "customer", -1250),
        ("failed", "customer", -1250),
        ("failed", "held", 1250),
    ]


def test_a_program_can_use_its_own_schema_and_a_later_one(make_database, capsys):
    url = make_database("other_releases")
    assert not migrate.is_applied(payments_package, url)
    migrate.upgrade(payments_package, url, "0001")
    assert not migrate.is_applied(payments_package, url)
    migrate.upgrade(payments_package, url)
    assert migrate.is_applied(payments_package, url)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    assert migrate.is_applied(payments_package, url)
    migrate.upgrade(payments_package, url)
    said = "services.payments: the schema is a later release's (later), and stays as it is\n"
    assert capsys.readouterr().err.endswith(said)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "later"
