"""The Celery process with a real broker: tasks in progress survive its kill and its stop, and readiness follows the broker."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3

from chassis.base import clock, failpoints
from chassis.messaging import broker
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.publisher import Publisher
from chassis.messaging.relay import Relay
from chassis.run import worker
from services.notifications.settings import Settings
from services.notifications.sweeper import sweep
from tests.conftest import server_url
from tests.installation import until
from tests.notifications.conftest import confirmed, envelope, registered
from tests.notifications.test_tasks import MailServer, SlowMailServer
from tests.ports import free_port
from tests.wire import Wire

ROOT = Path(__file__).parents[2]
SECONDS = 60


class Process:
    def __init__(self, service, broker_url, smtp_url, failpoints_directory):
        self.port = free_port()
        self.failpoints_directory = failpoints_directory
        environment = {
            **os.environ,
            "SOUK_DATABASE_URL": service.settings.database_url,
            "SOUK_BROKER_URL": broker_url,
            "SOUK_SMTP_URL": smtp_url,
            "SOUK_PORT": str(self.port),
            "SOUK_FAILPOINTS_DIRECTORY": str(failpoints_directory),
        }
        arguments = [sys.executable, "-m", "chassis", "celery", "services.notifications"]
        self.process = subprocess.Popen(arguments, cwd=ROOT, env=environment)

    def die_at(self, point, passes=0):
        """Be killed at this point of a delivery, after so many times past it."""
        name = failpoints.file_of(f"notifications-celery: notifications.deliver: {point}")
        (self.failpoints_directory / name).write_text(str(passes))

    def handled(self, outcome):
        """How many runs of a delivery ended so."""
        name = f'souk_tasks_handled_total{{outcome="{outcome}",task="notifications.deliver"}} '
        lines = self.get("/metrics").data.decode().splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    @property
    def is_ready(self):
        try:
            return self.get("/health/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def get(self, path):
        return urllib3.request("GET", f"http://127.0.0.1:{self.port}{path}", retries=False, timeout=5)


@pytest.fixture
def celery(desk, broker_url, tmp_path):
    """Starts Celery processes, which are killed at the end."""
    running = []

    def start(smtp_url, url=broker_url):
        running.append(Process(desk.service, url, smtp_url, tmp_path))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait(SECONDS)


def enqueue(desk):
    """Put the task of a new mail into the queue."""
    for message in (registered(), confirmed()):
        desk.system.deliver(desk.service, envelope(message))
    relay(desk)


def relay(desk):
    publisher = Publisher(server_url("BROKER"))
    Relay(desk.service.store.source, worker.sender(desk.service, publisher)).send_batch()
    publisher.close()


def unavailable():
    return f"smtp://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("point", ["retried", "begin"])
def test_a_retry_of_a_killed_process_is_brought_back_by_the_broker(desk, celery, mail_server, point):
    """Nothing sweeps here. Killed at `retried`, the process has acknowledged nothing; at `begin`, only its first attempt.

    Fifty runs in a row passed on two cores under a load of 20 to 40.
    """
    first = celery(unavailable())
    first.die_at(point, passes=1 if point == "begin" else 0)
    enqueue(desk)
    assert first.process.wait(SECONDS) == -signal.SIGKILL
    server = MailServer()
    celery(f"smtp://127.0.0.1:{mail_server(server)}")
    until(lambda: server.taken, SECONDS)
    until(lambda: desk.notifications()[0].status == "sent", SECONDS)
    assert desk.notifications()[0].attempts == 2
    assert len(server.taken) == 1


def test_a_mail_in_progress_in_a_killed_process_is_sent_after_the_sweep(desk, celery, mail_server):
    """The redelivered task leaves such a mail alone, as its sender may only have lost the broker. It waits for
    SOUK_ATTEMPT_SECONDS (two minutes) and the sweeper's next turn (ten seconds), and for no longer.

    A test that killed whenever the first error was seen met this case at random: Celery's own jitter often retried at
    once, so the process died with the second attempt begun, and no sweeper ran in that test.
    """
    first = celery(unavailable())
    first.die_at("committed")
    enqueue(desk)
    assert first.process.wait(SECONDS) == -signal.SIGKILL
    [notification] = desk.notifications()
    assert (notification.attempts, notification.error) == (1, None)
    server = MailServer()
    second = celery(f"smtp://127.0.0.1:{mail_server(server)}")
    until(lambda: second.is_ready and second.handled("done"), SECONDS)
    assert not server.taken
    lease = timedelta(seconds=Settings().attempt_seconds) + clock.LEEWAY
    assert notification.due_at == notification.taken_until <= clock.now() + lease
    desk.change("taken_until = now(), due_at = now()")
    with desk.transaction():
        sweep()
    relay(desk)
    until(lambda: desk.notifications()[0].status == "sent", SECONDS)
    assert len(server.taken) == 1


def test_a_stop_finishes_the_mail_in_progress(desk, celery, mail_server):
    slow = SlowMailServer()
    process = celery(f"smtp://127.0.0.1:{mail_server(slow)}")
    enqueue(desk)
    assert slow.received.wait(SECONDS)
    process.process.send_signal(signal.SIGTERM)
    until(lambda: not process.is_ready, SECONDS)
    slow.allowed.set()
    assert process.process.wait(SECONDS) == 0
    [notification] = desk.notifications()
    assert (notification.status, notification.attempts, len(slow.taken)) == ("sent", 1, 1)


def test_it_is_not_ready_while_the_broker_is_unreachable_and_recovers(desk, celery, mail_server):
    wire, url = Wire.to(server_url("BROKER"))
    server = MailServer()
    process = celery(f"smtp://127.0.0.1:{mail_server(server)}", url)
    until(lambda: process.is_ready, SECONDS)
    wire.cut()
    until(lambda: not process.is_ready, 10)
    wire.mend()
    until(lambda: process.is_ready, SECONDS)
    enqueue(desk)
    until(lambda: server.taken, SECONDS)
    # An unknown task is not dropped.
    with broker.connect(server_url("BROKER")) as connection:
        desk.service.celery.app.send_task("notifications.unheard_of", args=["x"], connection=connection, task_id="odd")
    dead = DeadLetterQueue(server_url("BROKER"), "notifications.dead", "notifications")
    [letter] = until(dead.letters, SECONDS)
    assert (letter.id, letter.type) == ("odd", "notifications.unheard_of")
    assert "does not know this task" in letter.error
    assert [replayed.details["to"] for replayed in dead.replay(None, dry_run=True)] == ["notifications.celery"]
    wire.close()
