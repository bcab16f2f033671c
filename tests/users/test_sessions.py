"""Refresh tokens work once, a stolen one ends the session, and an ended session's tokens are refused within seconds."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from uuid import UUID

import jwt
import pytest
from sqlalchemy import event, func, select, update

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.base.problems import Unauthorized
from chassis.run.testing import bearer
from chassis.security import auth, revocations
from chassis.storage import postgres, redis, store
from services.users.models import revoked_token
from services.users.models.request import Request
from services.users.models.security_event import SecurityEvent
from services.users.models.session import MAX_LENGTH, REPEAT_WINDOW, RefreshToken, Session, digest_of
from services.users.models.user import User
from services.users.settings import Settings
from services.users.timers import purge
from tests.redis import FAILURES, breakable

from .conftest import PASSWORD, hashes_held

KONG_YML = Path(__file__).parents[2] / "kong/kong.yml"


@pytest.fixture
def refresh(http):
    return lambda token: http.post("/users/token/refresh", json={"refresh_token": token})


@pytest.fixture
def me(http):
    """The status of a request with an access token."""

    def status(tokens) -> int:
        revocations._cache.clear()  # as in a process that has not seen the token within the last second
        return http.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}).status_code

    return status


@pytest.fixture
def tokens(register, log_in):
    """The tokens of a login."""
    register()
    return log_in().json


@pytest.fixture
def later(users):
    """Moves the use of refresh tokens into the past."""

    def move(by: timedelta) -> None:
        with users.store.transaction():
            postgres.session().execute(update(RefreshToken).values(used_at=RefreshToken.used_at - by))

    return move


def authorized(tokens) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def test_a_refresh_returns_new_tokens_of_the_same_session(tokens, refresh, me):
    again = refresh(tokens["refresh_token"])
    assert again.status_code == 200
    assert again.json["refresh_token"] != tokens["refresh_token"]
    sids = [
        jwt.decode(each["access_token"], options={"verify_signature": False})["sid"] for each in (tokens, again.json)
    ]
    assert sids[0] == sids[1]
    assert me(again.json) == 200


def test_only_a_digest_of_the_token_is_stored(tokens, users):
    with users.store.engine.connect() as connection:
        row = connection.execute(select(RefreshToken.__table__)).one()
    assert tokens["refresh_token"] not in str(row)
    assert row.digest == digest_of(tokens["refresh_token"])


def test_a_client_that_lost_the_response_gets_it_again(tokens, refresh, me):
    lost = refresh(tokens["refresh_token"])
    again = refresh(tokens["refresh_token"])
    assert (lost.status_code, again.status_code) == (200, 200)
    assert again.json["refresh_token"] == lost.json["refresh_token"]
    assert me(again.json) == 200
    assert refresh(again.json["refresh_token"]).status_code == 200


def test_a_client_may_repeat_for_as_long_as_it_and_the_edge_wait(tokens, refresh, later):
    lost = refresh(tokens["refresh_token"])
    browser_seconds, edge_seconds = 60, int(re.search(r"read_timeout: (\d+)", KONG_YML.read_text())[1]) / 1000
    later(timedelta(seconds=browser_seconds + edge_seconds))
    again = refresh(tokens["refresh_token"])
    assert (again.status_code, again.json["refresh_token"]) == (200, lost.json["refresh_token"])


def test_two_tabs_that_refresh_at_once_stay_logged_in(tokens, refresh, me):
    for _ in range(4):
        first, second = refresh(tokens["refresh_token"]), refresh(tokens["refresh_token"])
        assert (me(first.json), me(second.json)) == (200, 200)
        tokens = second.json


def test_a_logout_ends_the_access_tokens_of_a_repeated_refresh(tokens, refresh, me, http):
    first, again = refresh(tokens["refresh_token"]).json, refresh(tokens["refresh_token"]).json
    assert http.post("/users/logout", headers=authorized(first)).status_code == 204
    assert (me(first), me(again)) == (401, 401)


def test_concurrent_refreshes_do_not_fork_the_session(tokens, client, users):
    together, responses = threading.Barrier(4), []

    def race() -> None:
        together.wait()
        body = {"refresh_token": tokens["refresh_token"]}
        responses.append(client(users).post("/users/token/refresh", json=body))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [response.status_code for response in responses] == [200] * 4
    assert len({response.json["refresh_token"] for response in responses}) == 1
    with users.store.transaction():
        fresh = select(func.count()).where(RefreshToken.used_at.is_(None), RefreshToken.is_superseded.is_(False))
        assert postgres.session().scalar(fresh) == 1


@pytest.mark.parametrize(("seconds", "status"), [(-5, 200), (0, 401)])
def test_the_repeat_window_allows_for_another_machines_clock(tokens, refresh, later, seconds, status):
    refresh(tokens["refresh_token"])
    later(REPEAT_WINDOW + LEEWAY + timedelta(seconds=seconds))
    assert refresh(tokens["refresh_token"]).status_code == status


@pytest.mark.parametrize(("seconds", "status"), [(-5, 200), (0, 401)])
def test_the_end_of_a_session_allows_for_another_machines_clock(tokens, refresh, users, seconds, status):
    with users.store.transaction():
        ended = clock.now() - LEEWAY - timedelta(seconds=seconds)
        postgres.session().execute(update(Session).values(expires_at=ended))
    assert refresh(tokens["refresh_token"]).status_code == status


@pytest.mark.parametrize("thief_is_late", [True, False])
def test_a_stolen_token_ends_the_session(tokens, refresh, me, later, thief_is_late):
    owner = refresh(tokens["refresh_token"]).json
    if thief_is_late:
        later(REPEAT_WINDOW + LEEWAY)
    else:
        owner = refresh(owner["refresh_token"]).json
    thief = refresh(tokens["refresh_token"])
    assert (thief.status_code, thief.json["type"]) == (401, "/problems/refresh-refused")
    assert refresh(owner["refresh_token"]).status_code == 401
    assert (me(owner), me(tokens)) == (401, 401)


def test_a_quick_thief_is_detected_by_the_next_refresh_but_one(tokens, refresh, me, later):
    owner = refresh(tokens["refresh_token"]).json
    thief = refresh(tokens["refresh_token"]).json
    assert refresh(owner["refresh_token"]).status_code == 200
    later(REPEAT_WINDOW + LEEWAY)
    assert refresh(thief["refresh_token"]).status_code == 401
    assert me(thief) == 401


def test_a_theft_is_in_the_audit_trail(tokens, refresh, later, http, users):
    refresh(tokens["refresh_token"])
    later(REPEAT_WINDOW + LEEWAY)
    refresh(tokens["refresh_token"])
    url = f"/users/{tokens['user_id']}/security-events"
    events = http.get(url, headers=bearer(users, UUID(tokens["user_id"]))).json["items"]
    assert [event["kind"] for event in events] == ["session.reuse", "login", "registered"]


@pytest.mark.parametrize("token", ["", "nonsense", "é" * 50])
def test_an_invalid_refresh_token_is_refused(tokens, refresh, token):
    assert refresh(token).status_code == 401


def test_a_logout_ends_only_this_session(tokens, log_in, refresh, me, http):
    refreshed = refresh(tokens["refresh_token"]).json
    elsewhere = log_in().json
    assert http.post("/users/logout", headers=authorized(refreshed)).status_code == 204
    assert (me(tokens), me(refreshed), me(elsewhere)) == (401, 401, 200)
    assert refresh(refreshed["refresh_token"]).status_code == 401
    assert refresh(elsewhere["refresh_token"]).status_code == 200


def test_a_token_without_a_session_is_refused_after_its_logout(tokens, http, users, me):
    token = {"access_token": bearer(users, UUID(tokens["user_id"]))["Authorization"].removeprefix("Bearer ")}
    assert me(token) == 200
    assert http.post("/users/logout", headers=authorized(token)).status_code == 204
    assert me(token) == 401
    assert me(tokens) == 200


def test_a_logout_everywhere_ends_all_sessions(tokens, log_in, refresh, me, http):
    elsewhere = log_in().json
    assert http.post("/users/logout/everywhere", headers=authorized(tokens)).status_code == 204
    assert (me(tokens), me(elsewhere)) == (401, 401)
    assert refresh(elsewhere["refresh_token"]).status_code == 401
    assert me(log_in().json) == 200


def test_a_closed_account_has_no_session(tokens, refresh, me, http):
    http.delete(f"/users/{tokens['user_id']}", headers=authorized(tokens))
    assert me(tokens) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_an_inactive_account_gets_no_new_tokens(tokens, refresh, deactivate):
    deactivate(tokens["user_id"])
    assert refresh(tokens["refresh_token"]).status_code == 401


@pytest.mark.parametrize(
    ("age", "left"),
    [
        (timedelta(days=20), timedelta(days=30)),
        (timedelta(days=179), timedelta(days=1)),
        (timedelta(days=180) + LEEWAY, None),
    ],
)
def test_a_refresh_keeps_a_session_for_another_thirty_days_but_not_beyond_180(tokens, refresh, users, age, left):
    with users.store.transaction():
        started = clock.now() - age
        postgres.session().execute(
            update(Session).values(
                created_at=started, expires_at=min(started + MAX_LENGTH, clock.now() + timedelta(hours=1))
            )
        )
    assert refresh(tokens["refresh_token"]).status_code == (401 if left is None else 200)
    with users.store.transaction():
        expires_at = postgres.session().scalars(select(Session.expires_at)).one()
    assert abs(expires_at - clock.now() - (left or timedelta())) < timedelta(minutes=2)


def test_every_service_refuses_a_revoked_token(tokens, http, client, products):
    headers = authorized(tokens)
    assert http.post("/users/logout", headers=headers).status_code == 204
    revocations._cache.clear()
    assert client(products).delete(f"/products/{tokens['user_id']}", headers=headers).status_code == 401


def test_a_process_that_accepted_a_token_refuses_it_within_seconds_of_its_revocation(tokens, http, me):
    assert me(tokens) == 200
    headers = authorized(tokens)
    assert http.post("/users/logout", headers=headers).status_code == 204
    deadline = time.monotonic() + 5
    while http.get("/users/me", headers=headers).status_code != 401:
        assert time.monotonic() < deadline


def test_revocations_are_published_again_to_an_emptied_redis(tokens, http, me, users):
    client = redis.client(users.settings.redis_url)
    http.post("/users/logout", headers=authorized(tokens))
    with store.active(users.store), users.store.transaction():
        revoked_token.publish_missing()
    for key in (*client.scan_iter("souk:revoked:*"), revoked_token.PUBLISHED_UNTIL):
        client.delete(key)
    assert me(tokens) == 200
    with store.active(users.store), users.store.transaction():
        revoked_token.publish_missing()
    assert me(tokens) == 401


def test_a_revocation_that_commits_late_is_still_published(tokens, me, users):
    """One that began before the last publication and committed after it is not older than the minute of overlap."""
    client = redis.client(users.settings.redis_url)
    token_id = jwt.decode(tokens["access_token"], options={"verify_signature": False})["jti"]
    engine = users.store.engine
    late = revoked_token.RevokedToken.__table__.insert().values(
        id=token_id, ends_at=clock.now() + timedelta(minutes=5), revoked_at=clock.now()
    )
    other = late.values(id="another", ends_at=clock.now() + timedelta(minutes=5), revoked_at=clock.now())
    with engine.begin() as connection:
        connection.execute(other)
    with engine.begin() as open_transaction:
        open_transaction.execute(late)
        with store.active(users.store), users.store.transaction():
            revoked_token.publish_missing()
    assert client.get(revoked_token.PUBLISHED_UNTIL) is not None
    assert me(tokens) == 200
    with store.active(users.store), users.store.transaction():
        revoked_token.publish_missing()
    assert me(tokens) == 401


def test_without_redis_tokens_are_accepted_without_delay(tokens, users):
    unreachable = Settings(**{**users.settings.model_dump(), "redis_url": "redis://127.0.0.1:1/0"})
    unchecked = revocations.UNCHECKED._value.get()
    started = time.perf_counter()
    for _ in range(50):
        revocations._cache.clear()
        caller = auth.admit(auth.CUSTOMER, f"Bearer {tokens['access_token']}", None, unreachable)
    assert str(caller.user_id) == tokens["user_id"]
    assert time.perf_counter() - started < 5
    assert revocations.UNCHECKED._value.get() == unchecked + 50
    revocations._retry_at = 0.0


@pytest.mark.parametrize("failure", FAILURES)
def test_while_redis_fails_tokens_are_accepted_and_a_revocation_reaches_it_afterwards(
    tokens, http, settings, users, tmp_path, failure
):
    def admit() -> None:
        revocations._cache.clear()
        auth.admit(auth.CUSTOMER, f"Bearer {tokens['access_token']}", None, Settings.current())

    with breakable(tmp_path) as server:
        settings(redis_url=server.url)
        server.fail(failure)
        admit()
        assert http.post("/users/logout", headers=authorized(tokens)).status_code == 204
        if failure != "down":
            server.recover()
            with store.active(users.store), users.store.transaction():
                revoked_token.publish_missing()
            revocations._retry_at = 0.0
            with pytest.raises(Unauthorized):
                admit()
    revocations._retry_at = 0.0


@pytest.mark.parametrize(
    ("moment", "needed"),
    [
        (revoked_token.RevokedToken.ends_at, LEEWAY),
        (Request.expires_at, LEEWAY),
        (RefreshToken.used_at, timedelta(days=1)),
        (Session.expires_at, LEEWAY),
        (SecurityEvent.occurred_at, timedelta(days=365)),
    ],
    ids=str,
)
def test_rows_are_purged_once_they_are_not_needed(tokens, refresh, http, users, moment, needed):
    http.post("/users/logout", headers=authorized(refresh(tokens["refresh_token"]).json))
    a_moment = timedelta(seconds=8)
    with users.store.transaction():
        for age, is_left in ((needed - a_moment, True), (needed + a_moment, False)):
            aged = update(moment.class_).where(moment.is_not(None)).values({moment: clock.now() - age})
            count = postgres.session().execute(aged).rowcount
            assert count
            purge()
            left = select(func.count()).select_from(moment.class_).where(moment.is_not(None))
            assert postgres.session().scalar(left) == (count if is_left else 0)


def test_a_token_used_a_day_ago_still_proves_theft(tokens, refresh, me, users, later):
    owner = refresh(tokens["refresh_token"]).json
    later(timedelta(hours=23))
    with users.store.transaction():
        purge()
    assert refresh(tokens["refresh_token"]).status_code == 401
    assert me(owner) == 401


def test_a_password_changed_during_a_login_is_refused(register, users, http, settings):
    """The login reads the account, its password is reset, and the login goes on."""
    account = register()
    settings(max_concurrent_hashes=1)
    read = Event()
    engine = users.store.engine

    def executed(connection, cursor, statement, *rest) -> None:
        if "FROM users" in statement:
            read.set()

    event.listen(engine, "after_cursor_execute", executed)
    with ThreadPoolExecutor(1) as pool:
        with hashes_held():
            body = {"email": "ada@example.com", "password": PASSWORD}
            login = pool.submit(lambda: http.post("/users/login", json=body))
            assert read.wait(30)
            event.remove(engine, "after_cursor_execute", executed)
            with users.store.transaction():
                User.get_for_update(UUID(account["id"])).set_password("another hash")
        assert login.result().status_code == 401


def test_a_token_that_another_machine_may_still_accept_is_revoked(tokens, log_in, me, http, users):
    elsewhere = log_in().json
    with users.store.transaction():
        ends = update(RefreshToken).values(access_ends_at=clock.now() - timedelta(seconds=1))
        postgres.session().execute(ends.where(RefreshToken.digest == digest_of(elsewhere["refresh_token"])))
    http.post("/users/logout/everywhere", headers=authorized(tokens))
    assert me(elsewhere) == 401


def test_a_token_that_an_earlier_release_superseded_proves_theft(tokens, log_in, refresh, me, users):
    with users.store.transaction():
        postgres.session().execute(update(RefreshToken).values(is_superseded=True))
    assert refresh(tokens["refresh_token"]).status_code == 401
    assert me(tokens) == 401
