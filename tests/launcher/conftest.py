"""A state folder of its own for each test, and a supervisor in it that is gone afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.state import StateFolder
from launcher.supervisor import Supervisor


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.make()
    return folder


@pytest.fixture
def supervisor(state: StateFolder) -> Iterator[Supervisor]:
    supervisor = Supervisor(state)
    yield supervisor
    supervisor.shut_down()
