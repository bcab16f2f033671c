"""The standby mail server gets what the first did not take, never what it may have taken."""

import asyncio
import socketserver
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import select

from chassis.storage import postgres
from contracts.users import UserDeleted
from services.notifications.models import Attempt
from services.notifications.models.notification import MAX_CRASHES, Notification
from services.notifications.settings import Settings
from tests.notifications.conftest import AMAL, confirmed, registered
from tests.notifications.test_tasks import MailServer, SlowMailServer
from tests.ports import free_port

DEADLINE_SECONDS = 20


class DisconnectingMailServer(MailServer):
    """Accepts the mail and drops the connection before responding, `times` times."""

    def __init__(self, times, then="250 OK"):
        super().__init__()
        self.times, self.then = times, then

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.taken.append(envelope.content)
        if self.times:
            self.times -= 1
            server.transport.abort()
            await asyncio.sleep(0)
        return self.then


@pytest.fixture
def servers(mail_server, settings):
    """Two mail servers with these handlers, the second the standby; None is an unavailable server."""

    def start(first, second):
        first, second = (
            f"smtp://127.0.0.1:{mail_server(handler) if handler else free_port()}" for handler in (first, second)
        )
        settings(smtp_url=first, smtp_fallback_url=second, smtp_timeout_seconds=5)

    return start


def logs(desk):
    """The outcomes of each notification's attempts."""
    with desk.transaction():
        rows = postgres.session().scalars(select(Notification).order_by(Notification.created_at)).all()
        return [[each.outcome for each in Attempt.of(row.id)] for row in rows]


def test_mails_for_an_unavailable_server_go_to_the_standby_and_it_is_tried_last_for_a_while(desk, servers):
    standby = MailServer()
    servers(None, standby)
    desk.handle(registered(), confirmed(), confirmed())
    assert len(standby.taken) == 2
    assert logs(desk) == [["not taken", "sent"], ["sent"]]


def test_a_temporary_refusal_sends_the_mail_to_the_standby(desk, servers):
    standby = MailServer()
    servers(MailServer(data="451 4.7.1 Greylisted"), standby)
    desk.handle(registered(), confirmed())
    assert len(standby.taken) == 1


FAILURES = {
    "closing": b"",
    "hanging": None,
    "speaking another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "too busy": b"421 4.3.2 Too many connections\r\n",
}
"""What a failing server sends at once; None: it sends nothing."""


@pytest.mark.parametrize("how", FAILURES)
def test_a_mail_that_the_first_server_cannot_have_taken_goes_to_the_standby(desk, servers, settings, how):
    standby = MailServer()
    servers(None, standby)
    with scripted(FAILURES[how]) as port:
        settings(smtp_url=f"smtp://127.0.0.1:{port}", smtp_timeout_seconds=0.5)
        desk.handle(registered(), confirmed())
    assert (len(standby.taken), logs(desk)) == (1, [["not taken", "sent"]])


@contextmanager
def scripted(greeting):
    """The port of a server that sends `greeting` to each client and hangs up."""
    ended = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            if greeting is None:
                ended.wait(DEADLINE_SECONDS)
            else:
                self.request.sendall(greeting)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        ended.set()
        server.shutdown()


@pytest.mark.parametrize("code", ["452 4.2.2 Mailbox full", "450 4.3.0 Read-only file system"])
def test_a_server_that_stores_nothing_at_present_is_tried_again(desk, servers, code):
    """Full, or read-only."""
    first = MailServer(data=code)
    servers(first, None)
    desk.fail(registered(), confirmed())
    first.data = "250 OK"
    desk.deliver(desk.notifications()[0].id)
    assert (len(first.taken), desk.notifications()[0].status) == (1, "sent")


def test_nothing_is_kept_of_a_user_deleted_before_the_standby_takes_the_mail(desk, servers):
    first, standby = SlowMailServer(), MailServer()
    first.data = "451 4.2.2 amal@example.com is over quota"
    servers(first, standby)
    sending = threading.Thread(target=desk.handle, args=[registered(), confirmed()])
    sending.start()
    assert first.received.wait(DEADLINE_SECONDS)
    desk.handle(UserDeleted(AMAL))
    first.allowed.set()
    sending.join()
    assert logs(desk) == [["not taken", "sent"]]
    [row] = desk.notifications()
    with desk.transaction():
        assert [each.error for each in Attempt.of(row.id)] == [None, None]


def test_a_permanent_refusal_does_not_send_the_mail_to_the_standby(desk, servers):
    standby = MailServer()
    servers(MailServer(data="554 5.7.1 Spam"), standby)
    desk.handle(registered(), confirmed())
    assert standby.taken == []


def test_a_mail_that_may_have_been_taken_stays_with_its_server(desk, servers):
    first, standby = DisconnectingMailServer(times=1), MailServer()
    servers(first, standby)
    desk.fail(registered(), confirmed())
    [row] = desk.notifications()
    assert (row.status, row.pinned_to is not None) == ("pending", True)
    desk.deliver(row.id)
    assert (len(first.taken), len(standby.taken)) == (2, 0)
    assert first.taken[0].split(b"Message-ID")[1][:60] == first.taken[1].split(b"Message-ID")[1][:60]
    assert logs(desk) == [["unknown", "sent"]]


def test_it_stays_there_also_after_a_certain_failure(desk, servers):
    standby = MailServer()
    servers(DisconnectingMailServer(times=1, then="451 4.3.0 Try again later"), standby)
    desk.fail(registered(), confirmed())
    [row] = desk.notifications()
    for _ in range(2):
        desk.fail_to_deliver(row.id)
    assert standby.taken == []
    assert logs(desk) == [["unknown", "not taken", "not taken"]]


def test_a_server_that_keeps_disconnecting_is_no_crash_of_ours(desk, servers):
    servers(DisconnectingMailServer(times=MAX_CRASHES + 1), None)
    desk.fail(registered(), confirmed())
    [row] = desk.notifications()
    for _ in range(MAX_CRASHES):
        desk.fail_to_deliver(row.id)
    desk.deliver(row.id)
    assert desk.notifications()[0].status == "sent"


def test_an_attempt_in_progress_is_ended_by_no_other_mail(desk, servers):
    servers(None, None)
    desk.fail(registered(), confirmed())
    desk.fail(confirmed())
    first, second = desk.notifications()
    with desk.transaction():
        Attempt.begin(second.id, "smtp")
    servers(MailServer(), None)
    desk.deliver(first.id)
    assert [outcomes[-1] for outcomes in logs(desk)] == ["sent", "started"]


def crashed(desk, provider):
    """An attempt whose process died before the response."""
    [row] = desk.notifications()
    with desk.transaction():
        Notification.take(row.id, timedelta(minutes=2))
    with desk.transaction():
        Attempt.begin(row.id, provider)
    desk.change("taken_until = now() - interval '1 second'")


def test_a_mail_stays_with_its_server_after_a_crash_during_delivery(desk, servers):
    servers(None, None)
    desk.fail(registered(), confirmed())
    first, standby = MailServer(), MailServer()
    servers(first, standby)
    crashed(desk, f"smtp {Settings.current().smtp_fallback_url.removeprefix('smtp://')}")
    desk.deliver(desk.notifications()[0].id)
    assert (len(first.taken), len(standby.taken)) == (0, 1)


def test_a_mail_that_keeps_crashing_the_process_is_given_up(desk, servers):
    server = MailServer()
    servers(None, None)
    desk.fail(registered(), confirmed())
    servers(server, None)
    for _ in range(MAX_CRASHES):
        crashed(desk, "smtp")
    desk.sweep(after=timedelta(hours=1))
    [row] = desk.notifications()
    assert (row.status, server.taken) == ("dead", [])
    assert "died 5 times" in row.error
