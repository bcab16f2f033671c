"""`python -m launcher.cluster.inside FILE`: the first process of a node's namespaces, which starts the node's programs.

FILE describes the node; node.py writes it.
"""

import json
import os
import socket
import string
import subprocess
import sys
import time
from pathlib import Path

from launcher.cluster import cgroups, programs
from launcher.cluster.network import Network, run

RUN = Path("/run")
SOCKET = RUN / "containerd" / "containerd.sock"
POLL_SECONDS = 0.1

RESTART_SECONDS = 1.0
"""Before a program that has ended is started again."""

KUBELETS_OWN = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""Of /proc/sys: the kubelet changes them, but not the machine's."""


_running: dict[int, tuple["subprocess.Popen[bytes]", tuple[str | Path, ...]]] = {}
"""The node's own programs and their commands, by process number."""


def main(file: Path) -> None:
    """Ends only when it is killed, and with it the node."""
    about = json.loads(file.read_text())
    number, folder, built = about["number"], Path(about["folder"]), Path(about["programs"])
    network, home, name = Network(about["network"], about["owner"]), file.parent, f"n{about['number']}"
    address = network.address(number)
    isolate(home, name)
    for template in (programs.SOURCES / "node").iterdir():
        text = string.Template(template.read_text())
        target = Path("/var/lib/cni/net.d") if template.suffix == ".conflist" else RUN
        filled = text.substitute(network=network.prefix, number=number, folder=folder, address=address)
        (target / template.name).write_text(filled)
    (RUN / "resolv.conf").write_text(f"nameserver {network.prefix}.0.1\n")

    if number == 1:
        for program, flags in programs.flags(RUN / "control-plane.yaml").items():
            start(built / program, *flags)
    start("containerd", f"--config={RUN}/containerd.toml")
    while not SOCKET.exists():
        time.sleep(POLL_SECONDS)
    import_images(built)
    host = f"--hostname-override={name}"
    start(
        built / "kubelet",
        f"--config={RUN}/kubelet.yaml",
        f"--kubeconfig={home}/kubelet.conf",
        f"--node-ip={address}",
        host,
    )
    start(built / "kube-proxy", f"--config={RUN}/kube-proxy.yaml", host)
    start(built / "netpol", folder / "admin.conf", name)
    keep_running()


def isolate(home: Path, name: str) -> None:
    socket.sethostname(name)
    run("umount -R /sys/fs/cgroup")
    run("mount --make-rshared /")
    run("mount -t proc proc /proc")
    run("mount -t sysfs sysfs /sys")
    run(f"mount -t tmpfs cgroups {cgroups.ROOT}")
    for controllers in cgroups.hierarchies():
        hierarchy = cgroups.folder(controllers)
        hierarchy.mkdir()
        named = f"none,{controllers}" if controllers.startswith("name=") else controllers
        run(f"mount -t cgroup -o {named} cgroup {hierarchy}" if controllers else f"mount -t cgroup2 cgroup {hierarchy}")
    run(f"mount --bind {home}/lib /var/lib")
    run(f"mount --bind {home}/log /var/log")
    run(f"mount -t tmpfs run {RUN}")
    for setting in KUBELETS_OWN:
        copy = RUN / "sys" / setting
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(Path("/proc/sys", setting).read_text())
        run(f"mount --bind {copy} /proc/sys/{setting}")
    run("sysctl -qw net.ipv4.ip_forward=1")
    # Absent without br_netfilter.
    run("sysctl -qw net.bridge.bridge-nf-call-iptables=1", check=False)


def import_images(built: Path) -> None:
    """Those that this node lacks or has older."""
    for archive in built.glob("*.tar"):
        mark = Path("/var/lib/images", archive.name)
        if not mark.exists() or mark.stat().st_mtime < archive.stat().st_mtime:
            run(f"ctr -n k8s.io images import {archive}")
            mark.touch()


def start(program: str | Path, *arguments: str | Path) -> None:
    command = (program, *arguments)
    with open(f"/var/log/{Path(program).name}.log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    _running[process.pid] = process, command


def keep_running() -> None:
    """As systemd does elsewhere: some end where another is not ready yet, as the kubelet without containerd. Reaps orphans, too."""
    while True:
        ended, _ = os.wait()
        if ended in _running:
            _, command = _running.pop(ended)
            time.sleep(RESTART_SECONDS)
            start(*command)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
