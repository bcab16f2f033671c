"""What a release consists of: an image for two architectures, the chart, notes, and its installation in a cluster."""

import math
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from launcher.cluster.kubectl import Kubectl
from launcher.cluster.theirs import find_kubectl
from launcher.errors import LaunchError
from launcher.kubernetes import helm
from launcher.kubernetes.chart import CHART
from launcher.progress import Progress
from launcher.state import REPOSITORY
from operators.canary.rollout import MAX_WAIT
from operators.canary.verdict import Limits

PLATFORMS = ("linux/amd64", "linux/arm64")
CHANGELOG = REPOSITORY / "CHANGELOG.md"
LAST_LINES = 10

STAGES = {"staging": ("production", "staging"), "production": ("production",)}
"""Files of values, each over the one before."""

CANARY = CHART / "values/canary.yaml"
OPERATORS = "-operators"
"""Behind the image's name: that of the operators."""

NAMESPACE = "souk"
ROLLED_OUT = timedelta(minutes=15)
"""For Deployments to get a new image."""

SERVED = timedelta(minutes=1)
"""For the API server to serve a kind that it has just been given."""


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


def deploy(stage: str, image: str, by_canary: bool, is_forced: bool, progress: Progress) -> None:
    """In KUBECONFIG's cluster; what fails is taken back: all of it by Helm, or a service by its Canary.

    is_forced: over what has been changed by hand, which is a conflict else. Raises LaunchError.
    """
    values = [CHART / "values" / f"{name}.yaml" for name in STAGES[stage]]
    options = ("--force-conflicts",) if is_forced else ()
    if by_canary:
        with progress.step("Operators' kinds"):
            apply_kinds(Kubectl(find_kubectl(progress)))
    upgrade(helm.Helm(helm.find(progress)), NAMESPACE, values, image, by_canary, *options)


def apply_kinds(kubectl: Kubectl) -> None:
    """Helm installs them, and never changes them. Before it sends resources with new fields. Raises LaunchError."""
    file = f"--filename={CHART / 'crds'}"
    # Over what Helm has installed.
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=souk", file)
    kubectl("wait", "--for=condition=Established", f"--timeout={_minutes(SERVED)}", file)


def upgrade(run: helm.Helm, namespace: str, values: Sequence[Path], image: str, by_canary: bool, *options: str) -> None:
    """Or install. options: more of Helm's. Raises LaunchError."""
    command: list[str | Path] = ["upgrade", "souk", CHART, "--install", f"--namespace={namespace}"]
    command += [f"--values={file}" for file in (*values, *([CANARY] if by_canary else []))]
    command += [f"--set=image.name={image}"]
    if not by_canary:
        # Over the image that a Canary may have given a Deployment, too.
        waiting = ["--wait", f"--timeout={_minutes(ROLLED_OUT)}", "--rollback-on-failure"]
        run(*command, *waiting, "--force-conflicts", *options)
        return
    command += [f"--set=operators.image={image}{OPERATORS}"]
    # No --rollback-on-failure: Helm would bring back images that Canaries have replaced since.
    run(*command, "--wait", f"--timeout={_minutes(longest())}", *options)
    # Changes nothing in the cluster, but Helm learns what the Canaries have promoted: to that it would go back.
    run(*command, "--no-hooks", *options)


def longest() -> timedelta:
    """Until each Canary has promoted its release or taken it back, by the chart's values."""
    canary: dict[str, Any] = {}
    for file in (CHART / "values.yaml", CANARY):
        canary |= yaml.safe_load(file.read_text())["operators"]["canary"]
    known = {name: canary["limits"][name] for name in ("failures", "inconclusive") if name in canary["limits"]}
    steps = len(canary["steps"])
    verdicts = Limits(**known).longest(steps) * timedelta(seconds=canary["intervalSeconds"])
    return ROLLED_OUT + steps * MAX_WAIT + verdicts + ROLLED_OUT


def _minutes(duration: timedelta) -> str:
    return f"{math.ceil(duration / timedelta(minutes=1))}m"


def _docker(*arguments: str) -> None:
    if not shutil.which("docker"):
        raise LaunchError("Docker, which builds the image, is not installed.")
    if subprocess.run(["docker", *arguments], check=False).returncode:
        raise LaunchError(f"docker {' '.join(arguments[:2])} failed.")
