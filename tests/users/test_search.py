"""Search: who finds whom, in which order, and always by an index range."""

import itertools
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chassis.run.testing import bearer
from chassis.storage import postgres
from services.users import search
from services.users.schemas import SearchQuery

PEOPLE = [
    ("ada", "Ada", "Lovelace"),
    ("adam", "Émile", "Adams"),
    ("bob", "Ada", "Adamson"),
    ("grace", "Grace", "Hopper"),
    ("zoe", "Zoë", "王"),
]


@pytest.fixture
def people(register):
    """Ids by username."""
    return {username: register(username, first_name=first, last_name=last)["id"] for username, first, last in PEOPLE}


@pytest.fixture
def staff(users):
    return bearer(users, uuid4(), "staff")


@pytest.fixture
def find(http):
    """Finds usernames, over all pages."""

    def everything(headers, limit=20, **query):
        names, cursor = [], None
        for _ in range(50):
            params = {**query, "limit": limit, **({"cursor": cursor} if cursor else {})}
            response = http.get("/users/search", query_string=params, headers=headers)
            assert response.status_code == 200, response.text
            names += [found["username"] for found in response.json["items"]]
            cursor = response.json["next"]
            if cursor is None:
                return names
        raise AssertionError("the pages do not end")

    return everything


@pytest.mark.parametrize("limit", [1, 2, 20])
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"username": "ad"}, ["ada", "adam"]),
        ({"username": "ADA"}, ["ada", "adam"]),
        ({"email": "ada@"}, ["ada"]),
        ({"email": "Ada"}, ["ada", "adam"]),
        ({"name": "ada l"}, ["ada"]),
        ({"name": "lovelace  A"}, ["ada"]),
        ({"name": "Ada"}, ["bob", "ada", "adam"]),
        ({"name": "emile"}, ["adam"]),
        ({"name": "ÉMI"}, ["adam"]),
        ({"name": "Zoë 王"}, ["zoe"]),
        ({"name": "nobody"}, []),
        ({"name": "%%"}, []),
        ({"username": "a_a"}, []),
        ({"email": "' OR 1=1"}, []),
        ({"q": "ada"}, ["ada", "bob", "adam"]),
        ({"q": "ADAM"}, ["adam", "bob"]),
        ({"q": "adam@"}, ["adam"]),
        ({"q": "lovelace"}, ["ada"]),
        ({"q": "grace"}, ["grace"]),
        ({"q": "__"}, []),
    ],
)
def test_staff_find_every_account_by_prefix(find, people, staff, query, found, limit):
    assert find(staff, limit, **query) == found


def test_customers_find_only_public_accounts_and_see_no_addresses(http, find, people, users):
    customer = bearer(users, UUID(people["grace"]))
    assert find(customer, name="ada") == []
    for username in ("ada", "bob"):
        url, owner = f"/users/{people[username]}/preferences", bearer(users, UUID(people[username]))
        assert http.put(url, json={"is_public": True}, headers=owner).status_code == 200
    assert find(customer, name="ada") == ["bob", "ada"]
    assert find(customer, username="ad") == ["ada"]
    assert find(customer, q="ad") == ["ada", "bob"]
    assert find(customer, q="ada@") == []
    summary = http.get("/users/search", query_string={"username": "ada"}, headers=customer).json["items"][0]
    assert (summary["first_name"], summary["email"], summary["roles"], summary["is_active"]) == (
        "Ada",
        None,
        None,
        None,
    )
    refused = http.get("/users/search", query_string={"email": "ada@"}, headers=customer)
    assert refused.status_code == 403


def test_a_closed_account_is_not_found_by_name(http, find, people, staff, users):
    owner = bearer(users, UUID(people["ada"]))
    http.put(f"/users/{people['ada']}/preferences", json={"is_public": True}, headers=owner)
    http.delete(f"/users/{people['ada']}", headers=owner)
    assert find(staff, name="ada") == ["bob", "adam"]
    assert find(bearer(users, uuid4()), username="ada") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"name": "ada", "email": "ada"}, "email"),
        ({"q": "ada", "name": "ada"}, "name"),
        ({"name": "a"}, "name"),
        ({"name": "\u0301\u0301"}, "name"),
        ({"q": "a"}, "q"),
        ({"username": "x" * 201}, "username"),
    ],
)
def test_a_search_without_exactly_one_valid_term_is_refused(http, staff, query, field):
    response = http.get("/users/search", query_string=query, headers=staff)
    assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, [field])


@pytest.mark.parametrize("cursor", ["x", "WyJhIiwgImIiXQ==", "WyJcdTAwMDAiLCAiYiJd"])
def test_a_foreign_cursor_is_refused(http, staff, cursor):
    response = http.get("/users/search", query_string={"name": "ada", "cursor": cursor}, headers=staff)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "cursor")


@pytest.fixture
def crowd(users):
    """Enough rows that a sequential scan is not the cheapest plan."""
    with users.store.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO users (email, username, roles, is_public, first_last, last_first)"
                " SELECT 'user' || n || '@example.com', 'user' || n, '{customer}', n % 4 = 0,"
                " 'name' || n % 1000 || ' surname' || n, 'surname' || n || ' name' || n % 1000"
                " FROM generate_series(1, 20000) n"
            )
        )
        connection.execute(text("ANALYZE users"))


SHAPES = [
    pytest.param(
        field,
        only_public,
        is_later,
        id=f"{field} {'public' if only_public else 'all'} {'later' if is_later else 'first'}",
    )
    for field, only_public, is_later in itertools.product(
        ("name", "username", "email", "q"), (False, True), (False, True)
    )
    if not (field == "email" and only_public)
]


@pytest.mark.parametrize(("field", "only_public", "is_later"), SHAPES)
def test_every_search_is_an_ordered_index_range(users, crowd, field, only_public, is_later):
    for searched in search.ranges(SearchQuery(**{field: {"name": "name1"}.get(field, "user1")}), only_public):
        after = (searched.prefix + "5", UUID(int=0)) if is_later else None
        with users.store.transaction():
            statement = search.statement(searched, after, 21, only_public)
            compiled = statement.compile(users.store.engine, compile_kwargs={"literal_binds": True})
            connection = postgres.session().connection()
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}").scalar_one()
        top = plan["Plan"]
        assert top["Node Type"] == "Limit"
        (scan,) = top["Plans"]
        assert scan["Node Type"] == "Index Scan", plan
        assert scan["Index Name"].startswith("users_public_by" if only_public else "users_by")
        # The condition is in the index: no row is read and then discarded.
        assert "Filter" not in scan
        assert "<" in scan["Index Cond"]
        if is_later:
            assert "ROW(" in scan["Index Cond"]
