"""Refresh tokens are good for one use, a stolen one ends the session, and what was ended is refused within seconds."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from uuid import UUID

import jwt
import pytest
from sqlalchemy import event, func, select, update

from chassis.run.testing import bearer
from chassis.security import auth, revocations
from chassis.storage import postgres, redis, store
from services.users.models import revoked_token
from services.users.models.session import LOST_ANSWER, RefreshToken, Session, digest_of
from services.users.models.user import User
from services.users.timers import forget

from .conftest import PASSWORD, hashes_held


@pytest.fixture
def refresh(http):
    return lambda token: http.post("/users/token/refresh", json={"refresh_token": token})


@pytest.fixture
def me(http):
    """Whether an access token opens its bearer's account."""

    def status(tokens) -> int:
        revocations._verdicts.clear()  # as in a process that has not seen the token within the last second
        return http.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}).status_code

    return status


@pytest.fixture
def tokens(register, log_in):
    """What a login gave."""
    register()
    return log_in().json


@pytest.fixture
def later(users):
    """Lets time pass for the refresh tokens that were used."""

    def move(by: timedelta) -> None:
        with users.store.transaction():
            postgres.session().execute(update(RefreshToken).values(used_at=RefreshToken.used_at - by))

    return move


def authorized(tokens) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def test_a_refresh_gives_new_tokens_of_the_same_session(tokens, refresh, me):
    again = refresh(tokens["refresh_token"])
    assert again.status_code == 200
    assert again.json["refresh_token"] != tokens["refresh_token"]
    sids = [
        jwt.decode(each["access_token"], options={"verify_signature": False})["sid"] for each in (tokens, again.json)
    ]
    assert sids[0] == sids[1]
    assert me(again.json) == 200


def test_the_token_is_kept_as_a_digest_only(tokens, users):
    with users.store.database.engine.connect() as connection:
        kept = connection.execute(select(RefreshToken.__table__)).one()
    assert tokens["refresh_token"] not in str(kept)
    assert kept.digest == digest_of(tokens["refresh_token"])


def test_a_client_whose_answer_was_lost_asks_again(tokens, refresh, me):
    lost = refresh(tokens["refresh_token"])
    again = refresh(tokens["refresh_token"])
    assert (lost.status_code, again.status_code) == (200, 200)
    assert refresh(again.json["refresh_token"]).status_code == 200


def test_two_at_once_with_one_token_do_not_fork_the_session(tokens, client, users):
    together, answers = threading.Barrier(4), []

    def race() -> None:
        together.wait()
        body = {"refresh_token": tokens["refresh_token"]}
        answers.append(client(users).post("/users/token/refresh", json=body))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 4
    with users.store.transaction():
        fresh = select(func.count()).where(RefreshToken.used_at.is_(None), RefreshToken.is_superseded.is_(False))
        assert postgres.session().scalar(fresh) == 1


@pytest.mark.parametrize("thief_is_late", [True, False])
def test_a_stolen_token_ends_the_session(tokens, refresh, me, later, thief_is_late):
    owner = refresh(tokens["refresh_token"]).json
    if thief_is_late:
        later(LOST_ANSWER)
    else:
        owner = refresh(owner["refresh_token"]).json
    thief = refresh(tokens["refresh_token"])
    assert (thief.status_code, thief.json["type"]) == (401, "/problems/refresh-refused")
    assert refresh(owner["refresh_token"]).status_code == 401
    assert (me(owner), me(tokens)) == (401, 401)


def test_a_thief_who_is_quick_is_found_out_by_the_owners_next_refresh(tokens, refresh, me):
    owner = refresh(tokens["refresh_token"]).json
    thief = refresh(tokens["refresh_token"]).json
    assert refresh(owner["refresh_token"]).status_code == 401
    assert refresh(thief["refresh_token"]).status_code == 401
    assert me(thief) == 401


def test_a_theft_is_in_the_audit_trail(tokens, refresh, later, http, users):
    refresh(tokens["refresh_token"])
    later(LOST_ANSWER)
    refresh(tokens["refresh_token"])
    url = f"/users/{tokens['user_id']}/security-events"
    events = http.get(url, headers=bearer(users, UUID(tokens["user_id"]))).json["items"]
    assert [event["kind"] for event in events] == ["session.reuse", "login", "registered"]


@pytest.mark.parametrize("token", ["", "nonsense", "é" * 50])
def test_what_is_no_refresh_token_opens_nothing(tokens, refresh, token):
    assert refresh(token).status_code == 401


def test_a_logout_ends_this_session_and_no_other(tokens, log_in, refresh, me, http):
    refreshed = refresh(tokens["refresh_token"]).json
    elsewhere = log_in().json
    assert http.post("/users/logout", headers=authorized(refreshed)).status_code == 204
    assert (me(tokens), me(refreshed), me(elsewhere)) == (401, 401, 200)
    assert refresh(refreshed["refresh_token"]).status_code == 401
    assert refresh(elsewhere["refresh_token"]).status_code == 200


def test_a_logout_everywhere_ends_all(tokens, log_in, refresh, me, http):
    elsewhere = log_in().json
    assert http.post("/users/logout/everywhere", headers=authorized(tokens)).status_code == 204
    assert (me(tokens), me(elsewhere)) == (401, 401)
    assert refresh(elsewhere["refresh_token"]).status_code == 401
    assert me(log_in().json) == 200


def test_a_closed_account_has_no_session(tokens, refresh, me, http):
    http.delete(f"/users/{tokens['user_id']}", headers=authorized(tokens))
    assert me(tokens) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_a_session_that_nobody_used_for_long_is_over(tokens, refresh, users):
    with users.store.transaction():
        postgres.session().execute(update(Session).values(expires_at=postgres.now()))
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_every_service_refuses_what_was_revoked(tokens, http, client, products):
    headers = authorized(tokens)
    assert http.post("/users/logout", headers=headers).status_code == 204
    revocations._verdicts.clear()
    assert client(products).delete(f"/products/{tokens['user_id']}", headers=headers).status_code == 401


def test_a_process_that_let_a_token_pass_refuses_it_within_seconds(tokens, http, me):
    assert me(tokens) == 200
    headers = authorized(tokens)
    assert http.post("/users/logout", headers=headers).status_code == 204
    deadline = time.monotonic() + 5
    while http.get("/users/me", headers=headers).status_code != 401:
        assert time.monotonic() < deadline


def test_a_redis_that_forgot_everything_is_told_again(tokens, http, me, users):
    told = redis.client(users.settings.redis_url)
    http.post("/users/logout", headers=authorized(tokens))
    with store.active(users.store), users.store.transaction():
        revoked_token.catch_up()
    for key in (*told.scan_iter("souk:revoked:*"), revoked_token.TOLD):
        told.delete(key)
    assert me(tokens) == 200
    with store.active(users.store), users.store.transaction():
        revoked_token.catch_up()
    assert me(tokens) == 401


def test_while_redis_is_away_tokens_pass_and_requests_do_not_wait(tokens, users):
    from chassis.base.settings import Settings

    away = Settings(jwt_keys=users.settings.jwt_keys, redis_url="redis://127.0.0.1:1/0")
    unchecked = revocations.UNCHECKED._value.get()
    started = time.perf_counter()
    for _ in range(50):
        revocations._verdicts.clear()
        caller = auth.admit(auth.CUSTOMER, f"Bearer {tokens['access_token']}", None, away)
    assert str(caller.user_id) == tokens["user_id"]
    assert time.perf_counter() - started < 5
    assert revocations.UNCHECKED._value.get() == unchecked + 50
    revocations._away_until = 0.0


def test_what_has_ended_is_forgotten(tokens, refresh, users, later):
    refresh(tokens["refresh_token"])
    later(timedelta(days=2))
    with users.store.transaction():
        forget()
        assert postgres.session().scalar(select(func.count()).select_from(RefreshToken)) == 1
        postgres.session().execute(update(Session).values(expires_at=postgres.now()))
        forget()
        assert postgres.session().scalar(select(func.count()).select_from(Session)) == 0


def test_a_password_that_changes_while_it_is_checked_opens_nothing(register, users, http, settings):
    """The login read the account, then somebody else reset its password, then the login goes on."""
    account = register()
    settings(hashes_at_once=1)
    read = Event()
    engine = users.store.database.engine

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
