"""The dashboards in the repository are those that the code makes."""

import pytest

from launcher.dashboards import FOLDER, Dashboard, dashboards

ALL = list(dashboards())


@pytest.mark.parametrize("dashboard", ALL, ids=[each.name for each in ALL])
def test_each_file_is_what_the_code_makes(dashboard: Dashboard) -> None:
    written = (FOLDER / f"{dashboard.name}.json").read_text()
    assert written == dashboard.to_json(), "run python -m launcher.dashboards"


def test_there_are_no_other_files() -> None:
    assert sorted(file.stem for file in FOLDER.iterdir()) == sorted(each.name for each in ALL)
