"""`python -m chassis.run.dead_letters` for a service with dead rows."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from chassis.base import clock, failpoints
from chassis.messaging import broker
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.publisher import Publisher
from chassis.run.dead_letters import main
from chassis.storage import store
from chassis.storage.trail import TERMINAL
from tests.broker import an_envelope
from tests.conftest import server_url
from tests.notifications.conftest import ADDRESS, confirmed, registered
from tests.ports import free_port


@pytest.fixture
def dead(notifications, broker_url, capsys):
    """Runs the command; returns its exit code and the printed objects."""

    def run(*arguments):
        capsys.readouterr()
        code = main(["services.notifications", *arguments])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def killed_command(notifications, failpoints_directory, *arguments):
    """The command in a process that a failpoint kills; returns its exit code."""
    environment = {
        **os.environ,
        "SOUK_BROKER_URL": server_url("BROKER"),
        "SOUK_DATABASE_URL": notifications.settings.database_url,
        "SOUK_FAILPOINTS_DIRECTORY": str(failpoints_directory),
    }
    line = [sys.executable, "-m", "chassis.run.dead_letters", "services.notifications", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, timeout=60, check=False).returncode


@pytest.fixture
def given_up(desk, smtp_url, mailbox):
    """A mail that was given up after three days without a mail server, which is back now."""
    smtp_url(f"smtp://127.0.0.1:{free_port()}")
    desk.fail(registered(), confirmed())
    desk.change("give_up_at = now() - interval '1 second'")
    [notification] = desk.notifications()
    desk.fail_to_deliver(notification.id)
    smtp_url(mailbox.url)
    return notification.id


def test_a_mail_that_was_given_up_is_listed_without_its_content_and_sent_on_replay(
    desk, dead, given_up, mailbox, notifications
):
    code, [listed] = dead("list")
    assert dead("rows", "10") == (0, [{"count": 1}, {**listed, "details": {}}])
    assert (code, listed["id"], listed["queue"]) == (0, str(given_up), "rows")
    assert "ConnectionRefusedError" in listed["error"]
    _, [shown] = dead("show", str(given_up))
    assert ["not taken" in line for line in shown["details"]["log"]] == [True, True]
    assert ADDRESS not in json.dumps(shown)
    _, [replayed] = dead("replay", "--all", "--dry-run")
    assert replayed["details"] == {"to": "notifications.celery", "replayed": False}
    assert desk.notifications()[0].status == "dead"
    assert dead("replay", str(given_up), "--reason", "The mail server is back")[0] == 0
    with store.active(notifications.store), store.transaction():
        [action] = store.trail().newest(10)
    assert (action.name, action.subject, action.by) == ("replay dead letter", str(given_up), TERMINAL)
    assert action.why.endswith(": The mail server is back")
    assert action.outcome == f"{listed['type']} sent to notifications.celery"
    desk.system.drain()
    assert desk.notifications()[0].status == "sent"
    assert len(mailbox.letters(ADDRESS)) == 1
    assert dead("list") == (0, [])


def test_a_mail_that_is_replayed_is_tried_for_another_three_days(desk, dead, given_up, smtp_url):
    smtp_url(f"smtp://127.0.0.1:{free_port()}")
    assert dead("replay", str(given_up))[0] == 0
    desk.fail_to_deliver(given_up)
    [notification] = desk.notifications()
    assert notification.status == "pending"
    assert timedelta(days=2) < notification.give_up_at - clock.now() <= timedelta(days=3)


def test_an_unknown_dead_letter_sets_the_exit_code(dead):
    assert dead("show", "nothing") == (1, [])
    assert dead("replay", "nothing") == (1, [])
    with pytest.raises(SystemExit):
        dead("replay")


def test_a_replay_killed_between_copy_and_removal_leaves_both(dead, notifications, tmp_path):
    envelope = an_envelope("notifications")
    publisher = Publisher(server_url("BROKER"))
    publisher.send_to(broker.dead_letter_queue("notifications"), envelope.to_json(), {broker.ERROR_HEADER: "a bug"})
    publisher.close()
    (tmp_path / failpoints.file_of("dead: outside: published notifications")).touch()
    assert killed_command(notifications, tmp_path, "replay", str(envelope.id)) == -9
    assert [letter["id"] for letter in dead("list")[1]] == [str(envelope.id)]
    assert dead("replay", str(envelope.id))[0] == 0
    assert dead("list") == (0, [])
    to_be_handled = DeadLetterQueue(server_url("BROKER"), "notifications", "notifications").letters()
    assert [letter.id for letter in to_be_handled] == [str(envelope.id)] * 2
