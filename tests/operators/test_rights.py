"""The operators have exactly the rights that they need."""

import re
from typing import Any

import pytest

from tests.installation import until
from tests.operators.conftest import RULES, Figures, Namespace, Start
from tests.operators.test_keyring import a_keyring, secrets
from tests.operators.test_scaler import WAIT_SECONDS, a_scaler, measured

pytestmark = pytest.mark.kubernetes

WATCHED = ("consumerscalers", "keyrings")


def without(verb: str, resource: str) -> list[Any]:
    changed = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]} if resource in rule["resources"] else rule
        for rule in RULES
    ]
    return [rule for rule in changed if rule["verbs"]]


VERBS = [(verb, resource) for rule in RULES for resource in rule["resources"] for verb in rule["verbs"]]


@pytest.mark.parametrize(
    ("rules", "verb", "resource"), [(without(*each), *each) for each in VERBS], ids=[" ".join(each) for each in VERBS]
)
def test_every_right_is_needed(
    namespace: Namespace, figures: Figures, start: Start, rules: list[Any], verb: str, resource: str
) -> None:
    namespace.deployment("orders-worker", 1)
    measured(figures, namespace, consumed=16, busy=1.6)
    a_scaler(namespace)
    secrets(namespace)
    a_keyring(namespace, rotation=1)
    operators = start()
    if resource in WATCHED:
        assert operators.process.wait(WAIT_SECONDS) != 0
    else:
        until(lambda: operators.failures() > 0, WAIT_SECONDS)
        last = resource.rpartition("/")[2]
        assert re.search(rf"403: \S+ \S+/{last}\b", operators.log.read_text())
