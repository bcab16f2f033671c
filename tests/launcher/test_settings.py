"""Every documented setting arrives where it is read, and a setting that no program reads is refused."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from launcher import settings
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.program import Program
from launcher.state import REPOSITORY
from tests.installation import planned

REFERENCE = (REPOSITORY / "docs" / "settings.md").read_text()
ROW = re.compile(r"^\| `(SOUK_\w+)` \|(.*)", re.MULTILINE)
EVERYWHERE = "Every service and the gateway"


def documented(title: str) -> set[str]:
    """The settings of this section, without those that the launcher chooses."""
    section = REFERENCE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return {name for name, rest in ROW.findall(section) if "*chosen" not in rest}


def expected() -> Iterator[tuple[str, str]]:
    """Program and setting, of all that the reference lists for programs."""
    for program in settings.PROGRAMS:
        for name in documented(program.capitalize()):
            yield program, name
    for program in (*SERVICES, "gateway"):
        for name in documented(EVERYWHERE):
            yield program, name


def family(program: Program) -> str:
    """Whose settings it reads: a service's sidecar has its own."""
    return "sidecar" if "-sidecar" in program.name else program.name.partition("-")[0]


def test_every_documented_setting_arrives_at_each_program_that_reads_it(tmp_path):
    given = {name: f"given {name}" for _, name in expected()}
    for name in ("SOUK_TLS_CERTIFICATE", "SOUK_TLS_KEY"):
        (tmp_path / name).touch()
        given[name] = str(tmp_path / name)
    given["SOUK_DISCOVERY"] = "dns"
    given["SOUK_MONGO_URL"] = "mongodb://given.test:27017"
    stack = planned(tmp_path, environment=given)
    programs = stack.services.programs()
    # Operators are in clusters only.
    assert {family(program) for program in programs} == {*settings.PROGRAMS} - {"operators"}
    for program in programs:
        for name in {name for whose, name in expected() if whose == family(program)} - {"SOUK_MONGO_URL"}:
            assert program.environment.get(name) == given[name], (program.name, name)
    assert [each.environment["SOUK_MONGO_URL"] for each in programs if each.name == "products-web"] == [
        f"{given['SOUK_MONGO_URL']}/products"
    ]


def test_a_secret_goes_only_to_the_programs_that_read_it(tmp_path):
    programs = planned(tmp_path, environment={"SOUK_STRIPE_KEY": "sk_test_1"}).services.programs()
    assert {family(each) for each in programs if "SOUK_STRIPE_KEY" in each.environment} == {"payments"}


def test_a_service_reads_what_was_given(tmp_path):
    given = {
        "SOUK_PROVIDER": "stripe",
        "SOUK_STRIPE_KEY": "sk_test_1",
        "SOUK_CURRENCIES": '["USD"]',
        "SOUK_THREADS": "3",
    }
    services = planned(tmp_path, environment=given).services
    show = "from services.payments.settings import Settings; s = Settings.current(); "
    show += "print(s.provider, s.stripe_key.get_secret_value(), *s.currencies, s.threads)"
    command, environment = services.one_shot("payments", "-c", show)
    command.remove("-m")
    outcome = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert outcome.stdout == "stripe sk_test_1 USD 3\n"


def test_up_names_unknown_settings_in_one_line_and_starts_nothing(tmp_path):
    state = tmp_path / "state"
    environment = {
        **os.environ,
        "SOUK_STATE_DIR": str(state),
        "SOUK_HOLD_SECOND": "60",
        "SOUK_NONSENSE": "1",
        "COLUMNS": "200",
    }
    outcome = subprocess.run(
        [sys.executable, "-m", "launcher", "up"],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "souk: Unknown settings: SOUK_HOLD_SECOND (did you mean SOUK_HOLD_SECONDS?), SOUK_NONSENSE. "
        "docs/settings.md lists all.\n"
    )
    assert not list(state.glob("programs/*"))


def test_what_the_launcher_chooses_is_refused_instead_of_ignored():
    with pytest.raises(LaunchError, match=r"chooses itself: SOUK_DATABASE_URL \(.*SOUK_POSTGRES_URL.*Unset them"):
        settings.refuse_unknown({"SOUK_DATABASE_URL": "postgresql://127.0.0.1/souk", "SOUK_THREADS": "4"})


def test_the_reference_is_current():
    assert settings.reference() == REFERENCE, "Run ./souk settings > docs/settings.md"


@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        "chassis/README.md",
        *(str(path.relative_to(REPOSITORY)) for path in sorted(REPOSITORY.glob("services/*/README.md"))),
        *(str(path.relative_to(REPOSITORY)) for path in sorted(REPOSITORY.glob("monitoring/runbooks/*.md"))),
        "docs/degradation.md",
    ],
)
def test_every_setting_that_a_document_names_is_known(file):
    named = re.findall(r"\bSOUK_[A-Z0-9_]+\b", (REPOSITORY / file).read_text())
    known = {*settings.LAUNCHER, *settings.TESTS}.union(*map(settings.names, settings.PROGRAMS))
    assert set(named) <= known


@pytest.mark.parametrize("service", SERVICES)
def test_a_manifest_provides_only_settings_that_its_service_reads(service):
    assert set(SERVICES[service].settings) <= settings.names(service)
