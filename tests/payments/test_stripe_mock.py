"""Every call to Stripe, checked against its schema by Stripe's own mock server.

    go install github.com/stripe/stripe-mock@latest

It holds no state, so only the shape of requests and responses is tested.
"""

import os
import shutil
import socket
import subprocess
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from chassis.base import clock
from services.payments import providers
from tests.installation import until
from tests.ports import free_port

FOUND = shutil.which("stripe-mock", path=os.pathsep.join([os.environ.get("PATH", ""), str(Path.home() / "go" / "bin")]))

pytestmark = pytest.mark.skipif(
    FOUND is None,
    reason="STRIPE'S MOCK SERVER IS NOT INSTALLED: go install github.com/stripe/stripe-mock@latest",
)


@pytest.fixture(scope="module")
def mock_address():
    port = free_port()
    server = subprocess.Popen([str(FOUND), "-http-port", str(port)], stdout=subprocess.DEVNULL)

    def is_listening():
        assert server.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(is_listening)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def provider(payments, settings, mock_address):
    with settings(provider="stripe", stripe_key="sk_test_123", stripe_url=mock_address):
        yield providers.named("stripe")


@pytest.mark.parametrize(
    "call",
    [
        lambda stripe: stripe.authorize(uuid4(), 1250, "EUR", "pm_card_visa", False),
        lambda stripe: stripe.capture(uuid4(), "pi_1"),
        lambda stripe: stripe.void(uuid4(), "pi_1"),
        lambda stripe: stripe.find(uuid4(), "pi_1"),
        lambda stripe: stripe.find(uuid4(), None),
        lambda stripe: stripe.refund(uuid4(), uuid4(), "pi_1", 250),
        lambda stripe: stripe.find_refund(uuid4(), "pi_1"),
        lambda stripe: stripe.charge_of("ch_1"),
        lambda stripe: list(stripe.disputes("pi_1")),
        lambda stripe: list(stripe.report(clock.now() - timedelta(days=1), clock.now())),
    ],
    ids=["authorize", "capture", "void", "find", "search", "refund", "find_refund", "charge_of", "disputes", "report"],
)
def test_stripes_schema_takes_the_call_and_we_take_its_response(provider, call):
    call(provider)
