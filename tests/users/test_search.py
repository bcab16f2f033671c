"""Search: who is found, by whom, in which order; and that it reads an index's range, whatever the question."""

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
    """Their ids by username."""
    return {username: register(username, first_name=first, last_name=last)["id"] for username, first, last in PEOPLE}


@pytest.fixture
def staff(users):
    return bearer(users, uuid4(), "staff")


@pytest.fixture
def find(http):
    """The usernames found, over all pages."""

    def everything(headers, limit=20, **query):
        names, cursor = [], None
        for _ in range(50):
            asked = {**query, "limit": limit, **({"cursor": cursor} if cursor else {})}
            answer = http.get("/users/search", query_string=asked, headers=headers)
            assert answer.status_code == 200, answer.text
            names += [found["username"] for found in answer.json["items"]]
            cursor = answer.json["next"]
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
    ],
)
def test_staff_find_everybody_by_the_beginning(find, people, staff, query, found, limit):
    assert find(staff, limit, **query) == found


def test_a_customer_finds_who_wants_to_be_found_and_no_addresses(http, find, people, users):
    customer = bearer(users, UUID(people["grace"]))
    assert find(customer, name="ada") == []
    for username in ("ada", "bob"):
        url, owner = f"/users/{people[username]}/preferences", bearer(users, UUID(people[username]))
        assert http.put(url, json={"is_public": True}, headers=owner).status_code == 200
    assert find(customer, name="ada") == ["bob", "ada"]
    assert find(customer, username="ad") == ["ada"]
    shown = http.get("/users/search", query_string={"username": "ada"}, headers=customer).json["items"][0]
    assert (shown["first_name"], shown["email"], shown["roles"], shown["is_active"]) == ("Ada", None, None, None)
    refused = http.get("/users/search", query_string={"email": "ada@"}, headers=customer)
    assert refused.status_code == 403


def test_who_closed_the_account_is_found_by_nobody_by_name(http, find, people, staff, users):
    owner = bearer(users, UUID(people["ada"]))
    http.put(f"/users/{people['ada']}/preferences", json={"is_public": True}, headers=owner)
    http.delete(f"/users/{people['ada']}", headers=owner)
    assert find(staff, name="ada") == ["bob", "adam"]
    assert find(bearer(users, uuid4()), username="ada") == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"name": "ada", "email": "ada"},
        {"name": "a"},
        {"name": "\u0301\u0301"},
        {"q": "ada"},
        {"username": "x" * 201},
    ],
)
def test_a_search_for_nothing_or_for_two_things_is_refused(http, staff, query):
    assert http.get("/users/search", query_string=query, headers=staff).status_code == 422


@pytest.mark.parametrize("cursor", ["x", "WyJhIiwgImIiXQ==", "WyJcdTAwMDAiLCAiYiJd"])
def test_a_cursor_of_something_else_is_refused(http, staff, cursor):
    answer = http.get("/users/search", query_string={"name": "ada", "cursor": cursor}, headers=staff)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "cursor")


@pytest.fixture
def crowd(users):
    """Rows enough that reading all of them is not the cheapest plan."""
    with users.store.database.engine.begin() as connection:
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
    for field, only_public, is_later in itertools.product(("name", "username", "email"), (False, True), (False, True))
    if not (field == "email" and only_public)
]


@pytest.mark.parametrize(("field", "only_public", "is_later"), SHAPES)
def test_every_search_is_a_range_of_an_index_in_its_order(users, crowd, field, only_public, is_later):
    prefix, terms = search._sought(SearchQuery(**{field: {"name": "name1"}.get(field, "user1")}))
    seen = (prefix + "5", UUID(int=0)) if is_later else None
    for term in terms:
        with users.store.transaction():
            statement = search.statement(term, prefix, seen, 21, only_public)
            compiled = statement.compile(users.store.database.engine, compile_kwargs={"literal_binds": True})
            connection = postgres.session().connection()
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}").scalar_one()
        top = plan["Plan"]
        assert top["Node Type"] == "Limit"
        (scan,) = top["Plans"]
        assert scan["Node Type"] == "Index Scan", plan
        assert scan["Index Name"].startswith("users_public_by" if only_public else "users_by")
        # The bounds are the index's, and nothing is read only to be thrown away.
        assert "Filter" not in scan
        assert "<" in scan["Index Cond"]
        if is_later:
            assert "ROW(" in scan["Index Cond"]
