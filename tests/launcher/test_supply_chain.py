"""The SBOM, and the audit where there is no source of advisories."""

import json
from pathlib import Path

from launcher import check, supply_chain
from launcher.state import REPOSITORY

LOCK = """alpha==1.0 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via souk (pyproject.toml)
beta-gamma==2.0.1 ; sys_platform == 'win32' \\
    --hash=sha256:{b}
""".format(a="a" * 64, b="b" * 64)


def test_the_sbom_lists_every_package_of_the_lock_with_its_hashes(tmp_path: Path) -> None:
    (tmp_path / supply_chain.LOCK).write_text(LOCK)
    assert supply_chain.write_sbom(tmp_path) == 2
    first = (tmp_path / supply_chain.SBOM).read_text()
    bom = json.loads(first)
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "souk")
    alpha, beta = sorted(bom["components"], key=lambda each: each["name"])
    assert (alpha["purl"], beta["purl"]) == ("pkg:pypi/alpha@1.0", "pkg:pypi/beta-gamma@2.0.1")
    assert [each["value"] for each in alpha["properties"]] == ["a" * 64, "b" * 64]
    assert beta["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert "externalReferences" not in first
    supply_chain.write_sbom(tmp_path)
    assert (tmp_path / supply_chain.SBOM).read_text() == first


def test_every_package_of_our_lock_is_pinned_by_hash() -> None:
    found = list(supply_chain.packages((REPOSITORY / supply_chain.LOCK).read_text()))
    assert len(found) > 100
    assert [each.name for each in found if not each.hashes] == []


def test_an_audit_that_cannot_finish_is_no_audit(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(supply_chain.KNOWN_FLAWED)
    assert supply_chain.audit(requirements, seconds=0.001) is None
    requirements.write_text("no requirement at all")
    assert supply_chain.audit(requirements, seconds=60) is None


def test_a_source_of_advisories_is_not_needed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(supply_chain, "PROBE_SECONDS", 0.001)
    outcome = check.audit()
    assert (outcome.passed, outcome.title) == (
        True, "no audit for known flaws: no source of advisories can be reached",
    )  # fmt: skip
