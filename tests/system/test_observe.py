"""VictoriaLogs gets every entry of the programs' logs, also those written while it is down, and Jaeger every span."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import urllib3

from launcher.installation import OBSERVED
from launcher.stack import Stack
from launcher.state import REPOSITORY, StateFolder
from tests.installation import Person, catalogue_of, installed, new_person, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

PROGRAMS = {"gateway", "orders-web", "orders-worker", "products-worker", "payments-celery", "notifications-celery"}


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if not shutil.which("go"):
        pytest.skip("needs Go")
    folder = tmp_path_factory.mktemp("observed")
    state = StateFolder(folder / "state")
    state.make()
    state.write_json(OBSERVED, {"is_observed": True})
    with installed(folder) as running:
        yield running


def found(stack: Stack, query: str) -> list[dict[str, Any]]:
    url = f"{stack.url('victorialogs')}/select/logsql/query?{urlencode({'query': query})}"
    return [json.loads(line) for line in urllib3.request("GET", url).data.splitlines()]


def ordered(leila: Person, product: str) -> str:
    """The request's correlation id."""
    id_ = str(uuid4())
    body = {"lines": [{"product_id": product, "quantity": 1}], "payment_method": "tok_success"}
    order = leila.call("POST", "/orders/", body, **{"Idempotency-Key": uuid4().hex, "X-Correlation-ID": id_})
    leila.settled(order["id"])
    return id_


def test_an_order_is_found_by_its_request_also_one_of_a_time_without_it(observed: Stack) -> None:
    leila, product = new_person(observed)(), catalogue_of(observed)(10)

    def programs(id_: str) -> set[str]:
        return {entry["program"] for entry in found(observed, f'correlation_id:="{id_}"')}

    first = ordered(leila, product)
    until(lambda: programs(first) >= PROGRAMS)
    observed.supervisor.stop(["victorialogs"])
    meanwhile = ordered(leila, product)
    observed.supervisor.restart("log-shipper")
    last = ordered(leila, product)
    observed.supervisor.start_program("victorialogs")
    observed.wait_ready("victorialogs")
    until(lambda: programs(meanwhile) >= PROGRAMS)
    until(lambda: programs(last) >= PROGRAMS)
    once = found(observed, f'correlation_id:="{meanwhile}" program:="gateway"')
    assert [entry["_msg"] for entry in once] == ["request"]


def test_the_story_of_an_order_has_its_spans_as_a_tree(observed: Stack) -> None:
    leila, product = new_person(observed)(), catalogue_of(observed)(10)
    request = ordered(leila, product)

    def story() -> str:
        command = [sys.executable, "-m", "launcher", "trace", request]
        environment = {**os.environ, "SOUK_STATE_DIR": str(observed.state.path)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=REPOSITORY
        ).stdout

    until(lambda: "notifications-celery smtp send" in story())
    lines = story().splitlines()
    assert lines[0].startswith("trace ")
    assert lines[1].startswith("gateway POST orders-all")
    assert any(line.startswith("  orders-web POST /orders/") for line in lines)
