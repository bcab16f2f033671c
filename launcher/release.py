"""What a release consists of: an image for two architectures, the chart, notes, and its installation in a cluster."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import yaml

from launcher.errors import LaunchError
from launcher.kubernetes import helm
from launcher.kubernetes.chart import CHART
from launcher.progress import Progress
from launcher.state import REPOSITORY

PLATFORMS = ("linux/amd64", "linux/arm64")
CHANGELOG = REPOSITORY / "CHANGELOG.md"
LAST_LINES = 10

STAGES = {"staging": ("production", "staging"), "production": ("production",)}
"""Files of values, each over the one before."""

NAMESPACE = "souk"


def version() -> str:
    """The chart's, which is the packages' too."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["version"])


def check_tag(tag: str) -> None:
    """Raises LaunchError unless the tag, the chart, its programs and the project have one version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    found = {"the tag": tag.removeprefix("v"), "pyproject.toml": project}
    found |= {f"{name} in Chart.yaml": str(chart[name]) for name in ("version", "appVersion")}
    if len(set(found.values())) > 1:
        raise LaunchError("Versions differ: " + ", ".join(f"{place} {each}" for place, each in found.items()) + ".")


def notes(wanted: str, changelog: str) -> str:
    """The section of this version. Raises LaunchError."""
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    found = next((each for each in sections if each.split()[0] == wanted), "")
    if not found:
        raise LaunchError(f"CHANGELOG.md has no section {wanted}: write what has changed for those who use it.")
    return found.partition("\n")[2].strip() + "\n"


def push_image(name: str) -> None:
    """With what it consists of and how it was built, as attestations. Raises LaunchError."""
    attested = ("--sbom=true", "--provenance=mode=max")
    _docker(
        "buildx", "build", f"--platform={','.join(PLATFORMS)}", *attested, "--push", f"--tag={name}", str(REPOSITORY)
    )


def push_chart(target: str, folder: Path, progress: Progress) -> Path:
    """target: oci://... Raises LaunchError."""
    run = helm.Helm(helm.find(progress))
    run("package", CHART, f"--destination={folder}")
    package = folder / f"souk-{version()}.tgz"
    if target:
        run("push", package, target)
    return package


def deploy(stage: str, image: str, progress: Progress) -> None:
    """In KUBECONFIG's cluster; a roll-out that fails is taken back. Raises LaunchError."""
    values = [f"--values={CHART / 'values' / name}.yaml" for name in STAGES[stage]]
    options = [f"--namespace={NAMESPACE}", *values, f"--set=image.name={image}", "--wait", "--timeout=15m"]
    helm.Helm(helm.find(progress))("upgrade", "--install", "souk", CHART, *options, "--rollback-on-failure")


def _docker(*arguments: str) -> None:
    if not shutil.which("docker"):
        raise LaunchError("Docker, which builds the image, is not installed.")
    if subprocess.run(["docker", *arguments], check=False).returncode:
        raise LaunchError(f"docker {' '.join(arguments[:2])} failed.")
