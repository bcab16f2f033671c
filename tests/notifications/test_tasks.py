"""A mail is sent once, retried while that can help, and given up when it cannot."""

import asyncio
import threading
from contextlib import suppress
from datetime import timedelta

import pytest

from chassis.base import clock
from contracts.users import UserDeleted
from services.notifications.channels.message import NotTaken
from services.notifications.models import Notification
from services.notifications.sweeper import sweep
from tests.notifications.conftest import ADDRESS, AMAL, confirmed, registered
from tests.ports import free_port

SECONDS_70 = timedelta(seconds=70)
ATTEMPT_LASTS = timedelta(minutes=2)


class MailServer:
    """Replies to RCPT with `rcpt` and to DATA with `data`; records accepted mails."""

    def __init__(self, rcpt="250 OK", data="250 OK"):
        self.rcpt, self.data, self.taken = rcpt, data, []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.data.startswith("250"):
            self.taken.append(envelope.content)
        return self.data


class SlowMailServer(MailServer):
    """Waits for `allowed` before it accepts a mail."""

    def __init__(self):
        super().__init__()
        self.received, self.allowed = threading.Event(), threading.Event()

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.received.set()
        await asyncio.to_thread(self.allowed.wait, 10)
        return await super().handle_DATA(server, session, envelope)


@pytest.fixture
def no_mail_server(smtp_url):
    """No mail server is available."""
    smtp_url(f"smtp://127.0.0.1:{free_port()}")


def pending(desk):
    """A notification that the mail server did not accept."""
    with pytest.raises(NotTaken):
        desk.handle(registered(), confirmed())
    [notification] = desk.notifications()
    return notification


@pytest.fixture
def server_of(mail_server, smtp_url):
    """Use a mail server with this handler from now on."""

    def start(handler):
        smtp_url(f"smtp://127.0.0.1:{mail_server(handler)}")
        return handler

    return start


@pytest.mark.usefixtures("no_mail_server")
def test_the_sweeper_retries_a_mail_once_the_mail_server_is_back(desk, mailbox, smtp_url):
    notification = pending(desk)
    assert (notification.status, notification.attempts) == ("pending", 1)
    assert "ConnectionRefusedError" in notification.error
    smtp_url(mailbox.url)
    desk.sweep(after=timedelta(seconds=50))
    assert mailbox.letters() == []
    desk.sweep(after=SECONDS_70)
    assert len(mailbox.letters(ADDRESS)) == 1
    [notification] = desk.notifications()
    assert (notification.status, notification.attempts, notification.error) == ("sent", 2, None)
    desk.sweep(after=timedelta(days=1))
    assert len(mailbox.letters()) == 1


@pytest.mark.usefixtures("no_mail_server")
def test_the_sweeper_backs_off_to_every_ten_minutes(desk):
    pending(desk)
    waits = []
    for age in (timedelta(minutes=2), timedelta(minutes=5), timedelta(hours=5)):
        with desk.transaction():
            at = clock.now() + age
            sweep(at)
        waits.append(round((desk.notifications()[0].due_at - at) / timedelta(minutes=1)))
    assert waits == [2, 5, 10]


@pytest.mark.usefixtures("no_mail_server")
def test_two_sweepers_at_once_share_the_work(desk):
    pending(desk)
    with desk.transaction():
        sweep(clock.now() + SECONDS_70)
        second = threading.Thread(target=desk.sweep, args=[SECONDS_70])
        second.start()
        second.join()
        assert [sent.type for sent in desk.system.sent] == ["task.notifications.deliver"]


def test_a_mail_that_was_sent_is_not_sent_again(desk, mailbox):
    desk.handle(registered(), confirmed())
    [notification] = desk.notifications()
    desk.deliver(notification.id)
    assert len(mailbox.letters()) == 1
    assert desk.notifications()[0].attempts == 1


def test_a_mail_in_progress_is_not_sent_by_another_task(desk, server_of):
    server = server_of(SlowMailServer())
    first = threading.Thread(target=desk.handle, args=[registered(), confirmed()])
    first.start()
    assert server.received.wait(10)
    [notification] = desk.notifications()
    desk.deliver(notification.id)
    server.allowed.set()
    first.join()
    assert len(server.taken) == 1
    assert desk.notifications()[0].attempts == 1


@pytest.mark.usefixtures("no_mail_server")
def test_a_mail_whose_task_was_killed_is_sent_by_another(desk, mailbox, smtp_url):
    notification, before = pending(desk), clock.now()
    with desk.transaction():
        assert Notification.take(notification.id, ATTEMPT_LASTS) is not None
    smtp_url(mailbox.url)
    desk.sweep(after=SECONDS_70)
    assert mailbox.letters() == []
    lease = ATTEMPT_LASTS + clock.LEEWAY
    assert desk.notifications()[0].taken_until >= before + lease
    desk.change(f"taken_until = taken_until - interval '{lease.total_seconds()} seconds'")
    desk.sweep(after=lease)
    assert len(mailbox.letters()) == 1


def test_a_mail_resent_after_a_crash_keeps_its_message_id(desk, mailbox):
    desk.handle(registered(), confirmed())
    desk.change("status = 'pending', taken_until = NULL, sent_at = NULL")
    desk.sweep(after=ATTEMPT_LASTS + clock.LEEWAY)
    first, second = mailbox.letters()
    ours = [{name: value for name, value in copy.headers if name in ("Message-ID", "Date")} for copy in (first, second)]
    assert ours[0] == ours[1]
    assert ours[0]["Message-ID"]


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ({"rcpt": "550 5.1.1 No such mailbox"}, "550 5.1.1 No such mailbox"),
        ({"data": "554 5.7.1 Looks like spam"}, "554 5.7.1 Looks like spam"),
    ],
)
def test_a_mail_that_is_permanently_refused_fails(desk, server_of, replies, error):
    server = server_of(MailServer(**replies))
    desk.handle(registered(), confirmed())
    [notification] = desk.notifications()
    assert (notification.status, notification.error, notification.attempts) == ("failed", error, 1)
    server.rcpt = server.data = "250 OK"
    desk.sweep(after=timedelta(days=1))
    assert server.taken == []


@pytest.mark.parametrize("replies", [{"rcpt": "451 4.7.1 Greylisted"}, {"data": "452 4.3.1 Disk full"}])
def test_a_mail_that_is_temporarily_refused_is_retried(desk, server_of, replies):
    server = server_of(MailServer(**replies))
    notification = pending(desk)
    assert notification.status == "pending"
    server.rcpt = server.data = "250 OK"
    desk.deliver(notification.id)
    assert desk.notifications()[0].status == "sent"
    assert len(server.taken) == 1


@pytest.mark.usefixtures("no_mail_server")
def test_a_mail_that_cannot_be_sent_for_three_days_is_given_up(desk):
    notification = pending(desk)
    desk.change("give_up_at = give_up_at - interval '73 hours'")
    with pytest.raises(NotTaken):
        desk.deliver(notification.id)
    [notification] = desk.notifications()
    assert notification.status == "dead"
    assert "ConnectionRefusedError" in notification.error


@pytest.mark.usefixtures("no_mail_server")
def test_a_pending_mail_is_not_sent_to_a_deleted_user(desk, mailbox, smtp_url):
    pending(desk)
    desk.handle(UserDeleted(AMAL))
    smtp_url(mailbox.url)
    desk.sweep(after=SECONDS_70)
    assert mailbox.letters() == []
    [notification] = desk.notifications()
    assert (notification.status, notification.recipient, notification.error) == ("suppressed", "", None)


@pytest.mark.parametrize(
    ("replies", "status"), [({}, "sent"), ({"data": "451 Later"}, "suppressed"), ({"data": "554 No"}, "suppressed")]
)
def test_nothing_is_kept_of_a_user_deleted_during_delivery(desk, server_of, replies, status):
    server = server_of(SlowMailServer())
    server.data = replies.get("data", server.data)
    first = threading.Thread(target=sending, args=[desk])
    first.start()
    assert server.received.wait(10)
    desk.handle(UserDeleted(AMAL))
    server.allowed.set()
    first.join()
    [notification] = desk.notifications()
    assert (notification.status, notification.recipient, notification.error) == (status, "", None)


def sending(desk):
    # A temporary refusal is retried by the task.
    with suppress(NotTaken):
        desk.handle(registered(), confirmed())


@pytest.mark.usefixtures("no_mail_server")
def test_an_unexpected_error_gives_the_notification_up_after_its_retries(desk):
    notification = pending(desk)
    desk.change("kind = 'a.kind.that.is.gone'")
    task = desk.service.celery.app.tasks["notifications.deliver"]
    assert task.apply(args=[str(notification.id)]).failed()
    [notification] = desk.notifications()
    assert (notification.status, notification.error) == ("dead", "KeyError('a.kind.that.is.gone')")
    assert notification.attempts == 5
