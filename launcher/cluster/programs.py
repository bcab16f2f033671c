"""The programs of a cluster, built from k8s/cluster/ once for all clones, and Debian's that a node needs besides."""

import shutil
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from launcher import apt
from launcher.cluster.image import write_image
from launcher.errors import LaunchError
from launcher.go import Module
from launcher.progress import Progress
from launcher.state import REPOSITORY

SOURCES = REPOSITORY / "k8s" / "cluster"

API = {"api": ("etcd", "kube-apiserver")}
"""{package: the names that its binary goes by}. Enough for an API server alone."""

NODE = {
    **API,
    "kube": ("kubeadm", "kubectl", "kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler"),
    "netpol": (),
    "coredns": (),
    "metrics": (),
    "pause": (),
}

IMAGES = ("coredns", "metrics", "pause")
"""Programs that run in pods, of localhost/NAME:1."""

DEBIAN = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "iproute2": "ip",
}
"""{package: a program of it}."""


def build(packages: Mapping[str, Sequence[str]], progress: Progress) -> Path:
    """The folder of the programs, and of the images with .tar. Raises LaunchError."""
    major, minor, _ = version().removeprefix("v").split(".")
    stamps = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    linked = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())
    instead = ", or name a cluster in KUBECONFIG"
    module = Module("kubernetes", f"Kubernetes {version()}", SOURCES, instead, linked)
    with module.built([f"./{name}" for name in packages], progress) as folder:
        for alias, name in ((alias, name) for name, aliases in packages.items() for alias in aliases):
            if not (folder / alias).is_symlink():
                (folder / alias).symlink_to(name)
        for name in (name for name in packages if name in IMAGES):
            image = folder / f"{name}.tar"
            if not image.exists():
                files = {f"/{name}": folder / name}
                write_image(folder / "image.new", f"localhost/{name}:1", files, [f"/{name}"]).replace(image)
    return folder


def version() -> str:
    """Of Kubernetes: v1.37.2."""
    lines = (line.split() for line in (SOURCES / "go.mod").read_text().splitlines())
    return next(line[1] for line in lines if line[:1] == ["k8s.io/kubernetes"])


def flags(file: Path, **values: object) -> dict[str, list[str]]:
    """Of each program in the file, in starting order. `values` fill it in."""
    chosen = yaml.safe_load(string.Template(file.read_text()).substitute(values))
    return {
        program: [
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in each.items()
        ]
        for program, each in chosen.items()
    }


def install_debian_packages(progress: Progress) -> None:
    """Raises LaunchError when some are missing and cannot be installed."""
    missing = [package for package, program in DEBIAN.items() if not shutil.which(program)]
    if not missing:
        return
    if not apt.is_available():
        raise LaunchError(f"A node needs Debian's {', '.join(missing)}: apt-get install {' '.join(missing)}")
    with progress.step(f"apt-get install {' '.join(missing)} (system services stay off)"):
        apt.install(missing, units=["containerd"])
