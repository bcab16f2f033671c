"""`./souk cluster`: a Kubernetes for Souk, yours or one that is built and started here."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from launcher import progress
from launcher.cli import app, command, console
from launcher.cluster import theirs
from launcher.cluster.cluster import FILE, Cluster
from launcher.cluster.theirs import Theirs
from launcher.state import StateFolder

cluster = typer.Typer(help="A Kubernetes: KUBECONFIG's, else a running kind, else one made here.", no_args_is_help=True)
app.add_typer(cluster, name="cluster")


@cluster.command()
@command
def up(nodes: Annotated[int, typer.Option(help="How many nodes.")] = 1) -> None:
    """Start a cluster, and print how kubectl reaches it. The first time it is built, which takes minutes."""
    chosen = _chosen()
    if isinstance(chosen, Cluster) and _is_ours(chosen):
        with chosen.progress.shown():
            chosen.up(nodes)
        console.print(f"Ready: {', '.join(chosen.ready_nodes())}")
        console.print(f"export PATH={chosen.kubectl.binary.parent}:$PATH", soft_wrap=True, markup=False)
    else:
        console.print("A cluster is there, and is used as it is.")
    console.print(f"export KUBECONFIG={chosen.kubeconfig}", soft_wrap=True, markup=False)


@cluster.command()
@command
def down(wipe: Annotated[bool, typer.Option("--wipe", help="Also delete its state.")] = False) -> None:
    """Stop the cluster made here; another one stays."""
    chosen = _chosen()
    if isinstance(chosen, Cluster) and _is_ours(chosen):
        chosen.down(wipe)
        console.print("The cluster is stopped" + (" and deleted." if wipe else "."))
    else:
        console.print(f"The cluster of {chosen.kubeconfig} was not made here, and stays.", soft_wrap=True)


@cluster.command()
@command
def status() -> None:
    """Show nodes and pods."""
    kubectl = _chosen().kubectl
    console.print(kubectl("get", "nodes", "-o", "wide"), markup=False, soft_wrap=True)
    console.print(kubectl("get", "pods", "--all-namespaces", "-o", "wide"), markup=False, soft_wrap=True)


@cluster.command()
@command
def load(image: Annotated[str, typer.Argument(help="An archive, or the name of one of Docker's images.")]) -> None:
    """Put an image into every node."""
    _chosen().load(image)


@cluster.command()
@command
def demo() -> None:
    """Install Souk in the cluster, with servers beside it, and place an order through its edge."""
    from launcher import demo as customer
    from launcher import report
    from launcher.kubernetes import demo as place

    chosen = _chosen()
    _install(chosen)
    with place.forwarded(chosen.kubectl, "gateway", place.PORT) as address:
        report.order(console, customer.place_order(f"http://{address}"))
    command = f"kubectl --kubeconfig={chosen.kubeconfig} --namespace={place.NAMESPACE}"
    for line in place.addresses(command):
        console.print(line, soft_wrap=True, markup=False)


@app.command()
@command
def dev() -> None:
    """Install Souk in the cluster, as `cluster demo` does, and copy what you save into its pods, until Ctrl-C."""
    from launcher.kubernetes import demo as place
    from launcher.kubernetes import live_reload

    chosen = _chosen()
    pods = live_reload.LiveReload(chosen.kubectl.of(place.NAMESPACE))
    while True:
        _install(chosen, live_reload=True)
        pods.begin()
        with place.forwarded(chosen.kubectl, "gateway", place.PORT) as address:
            console.print(f"Shop: http://{address}   What you save starts again there. Stop: Ctrl-C", soft_wrap=True)
            for paths in live_reload.saved():
                if any(map(live_reload.needs_release, paths)):
                    break
                started = time.monotonic()
                copied = pods.copy(paths)
                if copied.pods:
                    files = ", ".join(map(str, sorted(paths))) or "What was saved before"
                    line = f"{files}: into {', '.join(copied.pods)} ({time.monotonic() - started:.1f} s)"
                    console.print(line, soft_wrap=True, markup=False)
                for pod, reason in copied.failed.items():
                    line = f"{pod} took nothing ({reason}); what runs next gets it."
                    console.print(line, soft_wrap=True, markup=False)


def _install(chosen: Cluster | Theirs, live_reload: bool = False) -> None:
    from launcher.kubernetes import demo as place

    shown = progress.for_terminal()
    with shown.shown():
        if isinstance(chosen, Cluster) and _is_ours(chosen) and not chosen.is_up:
            chosen.up()
        place.install(chosen, shown, live_reload)


def _is_ours(cluster: Cluster) -> bool:
    """Not another clone's, though KUBECONFIG may name that."""
    return cluster.folder == (StateFolder().path / "cluster").absolute()


def _chosen() -> Cluster | Theirs:
    state = StateFolder()
    ours = Cluster(state.path / "cluster", progress.for_terminal())
    if given := os.environ.get("KUBECONFIG"):
        if Path(given).absolute() == ours.kubeconfig.absolute():
            return ours
        folder = Path(given).absolute().parent
        return Cluster(folder, ours.progress) if (folder / FILE).exists() else theirs.of_kubeconfig(Path(given))
    return ours if (ours.folder / FILE).exists() else theirs.running_kind(state.write) or ours
