"""Webhooks, signed and retried.

`Sandbox-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA256 of "<t>.<body>">`, with the endpoint's secret.
"""

import hashlib
import hmac
import threading
import time
import urllib.request
from dataclasses import dataclass

from devservers.bank.ledger import Ledger, Row

SIGNATURE = "Sandbox-Signature"
TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Endpoint:
    url: str
    secret: str


def deliver(ledger: Ledger, endpoint: Endpoint, stopping: threading.Event) -> None:
    while not stopping.is_set():
        webhook = ledger.due_webhook(time.time())
        if webhook is None:
            stopping.wait(POLL_SECONDS)
        elif _send(endpoint, webhook):
            ledger.webhook_sent(webhook)
        else:
            ledger.webhook_failed(webhook, time.time() + min(0.5 * 2 ** webhook["tries"], 60))


def signature(secret: str, moment: int, body: str) -> str:
    signed = hmac.new(secret.encode(), f"{moment}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={moment},v1={signed}"


def _send(endpoint: Endpoint, webhook: Row) -> bool:
    signed = signature(endpoint.secret, int(time.time()), webhook["body"])
    headers = {"Content-Type": "application/json", SIGNATURE: signed}
    # The merchant configures this http(s) URL.
    post = urllib.request.Request(endpoint.url, webhook["body"].encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(post, timeout=TIMEOUT_SECONDS):  # noqa: S310
            return True
    except OSError:
        return False
