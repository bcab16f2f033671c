"""What we are made of: an SBOM (CycloneDX) from the lock file, and an audit for known flaws."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.state import REPOSITORY

LOCK = "requirements.lock"
SBOM = "dist/sbom.cdx.json"
AUDIT = Path(sys.executable).parent / "pip-audit"

KNOWN_FLAWED = "jinja2==3.1.2 --hash=sha256:6088930bfe239f0e6710546ab9c19c9ef35e29792895fed6e6e31a023a182a61\n"
"""Has advisories since 2024: an audit that finds none has no source of them."""

PROBE_SECONDS = 30
AUDIT_SECONDS = 300

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    hashes: tuple[str, ...]
    """sha256 of each of its files."""


def packages(lock: str) -> Iterator[Package]:
    starts = list(_PINNED.finditer(lock))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        text = lock[start.end() : following.start() if following else len(lock)]
        yield Package(start[1], start[2], tuple(_HASH.findall(text)))


def write_sbom(project: Path = REPOSITORY) -> int:
    """How many packages. The same lock gives the same file."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    ours = Component(name="souk", type=ComponentType.APPLICATION, bom_ref="souk")
    bom = Bom()
    bom.metadata.component = ours
    for package in packages((project / LOCK).read_text()):
        url = PackageURL("pypi", name=package.name, version=package.version)
        component = Component(
            name=package.name, version=package.version, type=ComponentType.LIBRARY, purl=url, bom_ref=str(url)
        )
        if len(package.hashes) == 1:
            component.hashes = [HashType(alg=HashAlgorithm.SHA_256, content=package.hashes[0])]
        else:
            # A component's hashes are those of one file; a package has one for each platform.
            component.properties = [Property(name="souk:sha256", value=each) for each in package.hashes]
        bom.components.add(component)
    bom.register_dependency(ours, bom.components)
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["serialNumber"], content["metadata"]["timestamp"]
    file = project / SBOM
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")
    return len(bom.components)


def audit(requirements: Path, seconds: float) -> dict[str, list[str]] | None:
    """Advisories by package. None without a source of them."""
    command = [str(AUDIT), "-r", str(requirements), "--disable-pip", "--require-hashes", "-f", "json"]
    try:
        done = subprocess.run(
            [*command, "--progress-spinner", "off", "--timeout", "5"],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        found = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return {
        f"{each['name']} {each['version']}": [flaw["id"] for flaw in each["vulns"]]
        for each in found
        if each.get("vulns")
    }


def has_advisories() -> bool:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(KNOWN_FLAWED)
        file.flush()
        return bool(audit(Path(file.name), PROBE_SECONDS))
