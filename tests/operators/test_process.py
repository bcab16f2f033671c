"""What the operators do while the API server lets them do less."""

import pytest

from tests.installation import until
from tests.operators.canary import CANARY, WAIT_SECONDS, a_canary
from tests.operators.conftest import RULES, Namespace, Start

pytestmark = pytest.mark.kubernetes


def test_rights_that_come_late_are_waited_for(namespace: Namespace, start: Start) -> None:
    a_canary(namespace)
    namespace.account.grant([])
    until(lambda: not namespace.account.may("list", "souk.dev", "canaries"))
    operators = start()
    until(lambda: "not allowed yet" in operators.log.read_text(), WAIT_SECONDS)
    namespace.account.grant([rule for rule in RULES if rule["resources"] != ["events"]])
    until(lambda: "event not posted" in operators.log.read_text(), WAIT_SECONDS)
    assert namespace.reason(CANARY) == "DeploymentMissing"
    assert not namespace.events()
    namespace.account.grant(RULES)
    until(lambda: namespace.events() == ["DeploymentMissing"], WAIT_SECONDS)
