"""The Celery process with a real broker: tasks in progress survive its kill and its stop, and readiness follows the broker."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from chassis.messaging import broker
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.publisher import Publisher
from chassis.messaging.relay import Relay
from chassis.run import worker
from tests.conftest import free_port, server_url
from tests.installation import until
from tests.notifications.conftest import confirmed, envelope, registered
from tests.notifications.test_tasks import MailServer, SlowMailServer
from tests.wire import Wire

ROOT = Path(__file__).parents[2]
SECONDS = 60


class Process:
    def __init__(self, service, broker_url, smtp_url):
        self.port = free_port()
        environment = {
            **os.environ,
            "SOUK_DATABASE_URL": service.settings.database_url,
            "SOUK_BROKER_URL": broker_url,
            "SOUK_SMTP_URL": smtp_url,
            "SOUK_PORT": str(self.port),
        }
        arguments = [sys.executable, "-m", "chassis", "celery", "services.notifications"]
        self.process = subprocess.Popen(arguments, cwd=ROOT, env=environment)

    @property
    def is_ready(self):
        try:
            url = f"http://127.0.0.1:{self.port}/health/ready"
            return urllib3.request("GET", url, retries=False, timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False


@pytest.fixture
def celery(desk):
    """Starts Celery processes, which are killed at the end."""
    with broker.connect(server_url("BROKER")) as connection:
        broker.declare(server_url("BROKER"), "notifications", [])
        for queue in ("notifications.celery", "notifications.dead"):
            connection.default_channel.queue_delete(queue)
        broker.dead_letter_queue("notifications")(connection.default_channel).declare()
    running = []

    def start(smtp_url, broker_url=None):
        running.append(Process(desk.service, broker_url or server_url("BROKER"), smtp_url))
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
    publisher = Publisher(server_url("BROKER"))
    Relay(desk.service.store.source, worker.sender(desk.service, publisher)).send_batch()
    publisher.close()


def test_a_kill_loses_no_waiting_retry_and_a_stop_finishes_what_is_in_progress(desk, celery, mail_server):
    unavailable = f"smtp://127.0.0.1:{free_port()}"
    first = celery(unavailable)
    enqueue(desk)
    until(lambda: desk.notifications()[0].error, SECONDS)
    first.process.kill()
    first.process.wait(SECONDS)
    attempts = desk.notifications()[0].attempts
    # No sweeper runs here: the broker alone redelivers the task.
    slow = SlowMailServer()
    second = celery(f"smtp://127.0.0.1:{mail_server(slow)}")
    assert slow.received.wait(SECONDS)
    second.process.send_signal(signal.SIGTERM)
    until(lambda: not second.is_ready, SECONDS)
    slow.allowed.set()
    assert second.process.wait(SECONDS) == 0
    [notification] = desk.notifications()
    assert (notification.status, len(slow.taken)) == ("sent", 1)
    assert notification.attempts > attempts


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
