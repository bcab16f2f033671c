"""Each search among a thousand and a million users: both should take equally long."""

import os
import random
import sys
import uuid
from collections.abc import Callable

from sqlalchemy import create_engine, text

from bench._measure import Series, measure, show
from chassis.storage import store
from services import users
from services.users import search
from services.users.app import service
from services.users.schemas import SearchQuery
from services.users.settings import Settings

SIZES = (1_000, 1_000_000)
CALLS = 300

FILL = text(
    "INSERT INTO users (email, username, roles, is_public, first_last, last_first, first_name, last_name)"
    " SELECT mail || '@example.com', 'user' || n, '{customer}', n % 4 = 0, first || ' ' || last, last || ' ' || first,"
    " first, last"
    " FROM (SELECT n, substr(md5(n::text), 1, 10) || n AS mail, substr(md5('f' || n % 5000), 1, 6) AS first,"
    " substr(md5('l' || n % 50000), 1, 8) AS last FROM generate_series(:first, :last) n) AS made"
)

INDEXES = text(
    "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'users' AND indexname LIKE 'users\\_%'"
    " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
)


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    server = os.environ["SOUK_TEST_POSTGRES_URL"]
    name = f"bench_users_{uuid.uuid4().hex[:8]}"
    admin = create_engine(server.replace("postgresql://", "postgresql+psycopg2://", 1), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        url = admin.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        Settings.use(database_url=url, request_secret="x" * 32)
        service.store.migrate(users)
        _run(sizes)
    finally:
        service.store.close()  # type: ignore[attr-defined]
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def _run(sizes: "list[int] | tuple[int, ...]") -> None:
    results: dict[str, list[Series]] = {}
    filled = 0
    for size in sizes:
        _fill(filled + 1, size)
        filled = size
        for shape, call in _shapes().items():
            measure("warm-up", call, 20)
            results.setdefault(shape, []).append(measure(f"among {size:,}", call, CALLS))
    for shape, series in results.items():
        show(shape, series)


def _fill(first: int, last: int) -> None:
    engine = service.store.engine  # type: ignore[attr-defined]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # Ten times faster than maintaining them row by row.
        indexes = connection.execute(INDEXES).all()
        for index in indexes:
            connection.execute(text(f"DROP INDEX {index.indexname}"))
        connection.execute(FILL, {"first": first, "last": last})
        for index in indexes:
            connection.execute(text(index.indexdef))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE users"))
        connection.invalidate()


def _shapes() -> dict[str, Callable[[], object]]:
    def prefix() -> str:
        return f"{random.randrange(256):02x}"

    def find(only_public: bool, pages: int = 1, **query: str) -> None:
        cursor = None
        with store.active(service.store), store.transaction():
            for _ in range(pages):
                _, cursor = search.find(SearchQuery(**query, cursor=cursor), only_public)
                if cursor is None:
                    return

    return {
        "staff, by name": lambda: find(False, name=prefix()),
        "staff, by a prefix of every username": lambda: find(False, username="us"),
        "staff, by e-mail address": lambda: find(False, email=prefix()),
        "staff, by username, five pages": lambda: find(False, pages=5, username="us"),
        "customers, by name": lambda: find(True, name=prefix()),
        "customers, by a prefix of every username": lambda: find(True, username="us"),
        "customers, by name, no match": lambda: find(True, name="zz"),
    }


if __name__ == "__main__":
    main()
