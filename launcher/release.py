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

CANARY = CHART / "values/canary.yaml"
OPERATORS = "-operators"
"""Behind the image's name: that of the operators."""

NAMESPACE = "souk"
TIMEOUT, CANARY_TIMEOUT = "15m", "90m"


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
    """And the operators', with what they consist of and how they were built, as attestations. Raises LaunchError."""
    options = (f"--platform={','.join(PLATFORMS)}", "--sbom=true", "--provenance=mode=max", "--push")
    _docker("buildx", "build", *options, f"--tag={name}", str(REPOSITORY))
    _docker("buildx", "build", *options, "--build-arg=LOCK=operators.lock", f"--tag={name}{OPERATORS}", str(REPOSITORY))


def push_chart(target: str, folder: Path, progress: Progress) -> Path:
    """target: oci://... Raises LaunchError."""
    run = helm.Helm(helm.find(progress))
    run("package", CHART, f"--destination={folder}")
    package = folder / f"souk-{version()}.tgz"
    if target:
        run("push", package, target)
    return package


def deploy(stage: str, image: str, by_canary: bool, progress: Progress) -> None:
    """In KUBECONFIG's cluster; what fails is taken back: all of it by Helm, or a service by its Canary. Raises LaunchError."""
    values = [f"--values={CHART / 'values' / name}.yaml" for name in STAGES[stage]]
    options = [f"--namespace={NAMESPACE}", *values, f"--set=image.name={image}", "--wait"]
    if by_canary:
        # Waits for the Canaries. What Helm would take back are images that they have replaced since.
        options += [f"--values={CANARY}", f"--set=operators.image={image}{OPERATORS}", f"--timeout={CANARY_TIMEOUT}"]
    else:
        options += [f"--timeout={TIMEOUT}", "--rollback-on-failure"]
    helm.Helm(helm.find(progress))("upgrade", "--install", "souk", CHART, *options)


def _docker(*arguments: str) -> None:
    if not shutil.which("docker"):
        raise LaunchError("Docker, which builds the image, is not installed.")
    if subprocess.run(["docker", *arguments], check=False).returncode:
        raise LaunchError(f"docker {' '.join(arguments[:2])} failed.")
