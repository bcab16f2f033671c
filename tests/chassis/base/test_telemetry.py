"""What must never be read in a log."""

from chassis.base import telemetry


def test_secrets_are_blanked_at_any_depth() -> None:
    event = {"event": "x", "password": "p", "body": {"Token": "t", "lines": [{"card": "c", "quantity": 2}]}}
    assert telemetry.redact(None, "info", event) == {
        "event": "x",
        "password": "[redacted]",
        "body": {"Token": "[redacted]", "lines": [{"card": "[redacted]", "quantity": 2}]},
    }
