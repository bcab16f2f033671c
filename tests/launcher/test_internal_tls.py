"""SOUK_INTERNAL_TLS: each service's certificate, and who gets what of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from launcher import certificate
from launcher.errors import LaunchError
from launcher.manifests import SERVICES
from launcher.program import Program
from launcher.state import StateFolder
from tests.installation import planned

FILES = ("SOUK_INTERNAL_CERTIFICATE_FILE", "SOUK_INTERNAL_KEY_FILE")


def programs_with(folder: Path, value: str) -> dict[str, Program]:
    stack = planned(folder, {"SOUK_INTERNAL_TLS": value})
    return {program.name: program for program in stack.services.programs()}


def contents(state: StateFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (state.path / "internal").iterdir()}


def test_without_it_nothing_changes(tmp_path: Path) -> None:
    for value in ("", "0"):
        for program in programs_with(tmp_path / f"state{value}", value).values():
            assert not [name for name in program.environment if name.startswith("SOUK_INTERNAL")]
            assert "https://127.0.0.1" not in program.script()


def test_each_web_process_has_its_own_key_and_nobody_the_cas(tmp_path: Path) -> None:
    programs = programs_with(tmp_path, "1")
    for name, program in programs.items():
        service, role = name.split("-", 1) if "-" in name else (name, "")
        has_key = FILES[1] in program.environment
        assert has_key == (role == "web")
        if has_key:
            assert [Path(program.environment[each]).name for each in FILES] == [f"{service}.pem", f"{service}.key.pem"]
        assert "ca.key.pem" not in program.script()
    assert programs["users-sidecar"].environment["SOUK_INSTANCE_URL"].startswith("https://")


def test_every_program_that_trusts_the_ca_restarts_with_a_new_one(tmp_path: Path) -> None:
    programs = programs_with(tmp_path, "1")
    read = {name: [str(file) for file in program.reads if file.name == "ca.pem"] for name, program in programs.items()}
    trusted = {name: program.environment.get("SOUK_INTERNAL_CA_FILE") for name, program in programs.items()}
    assert read == {name: [file] if file else [] for name, file in trusted.items()}
    callers = {"payments-celery", "orders-worker", "orders-web", "orders-sidecar", "gateway", "console-web"}
    assert callers <= {name for name, file in trusted.items() if file}


def test_a_certificate_names_its_service_and_is_readable_by_the_owner_only(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    certificate.ensure_internal(state, SERVICES)
    for path in (tmp_path / "internal").iterdir():
        assert path.stat().st_mode & 0o77 == 0
    for service in SERVICES:
        made = x509.load_pem_x509_certificate(certificate.internal_paths(state, service)[0].read_bytes())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [service]


def test_certificates_are_kept_and_renewed_a_year_before_they_expire(tmp_path: Path) -> None:
    state, now = StateFolder(tmp_path), datetime.now(UTC)
    certificate.ensure_internal(state, ["users"])
    first = contents(state)
    certificate.ensure_internal(state, ["users"], now + certificate.VALID - timedelta(days=367))
    assert contents(state) == first
    certificate.ensure_internal(state, ["users"], now + certificate.VALID - timedelta(days=364))
    renewed = contents(state)
    assert [name for name in first if renewed[name] != first[name]] != []
    assert (renewed["ca.pem"], renewed["users.pem"] != first["users.pem"]) == (first["ca.pem"], True)
    certificate.ensure_internal(state, ["users"], now + certificate.CA_VALID - timedelta(days=800))
    assert contents(state)["ca.pem"] != first["ca.pem"]


def test_a_nonsense_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="may be 1 or 0"):
        programs_with(tmp_path, "perhaps")
