"""`./souk chart`: the Helm chart in k8s/chart/."""

import typer
import yaml

from launcher.cli import app, command, console
from launcher.state import REPOSITORY

chart = typer.Typer(help="The Helm chart in k8s/chart/.", no_args_is_help=True)
app.add_typer(chart, name="chart")


@chart.command()
@command
def generate() -> None:
    """Write what the chart knows of the code: programs, the servers and services that each reaches, Kong's settings, alerts."""
    from launcher.kubernetes import chart as files

    for path in files.write():
        console.print(path.relative_to(REPOSITORY))


@chart.command()
@command
def secrets() -> None:
    """Print a Secret for each program, service and server of the cluster, for `kubectl apply -f -`.

    They are made at the first call and kept in the state folder. SOUK_POSTGRES_URL and the like name servers elsewhere.
    """
    from launcher.kubernetes import place
    from launcher.kubernetes import secrets as made

    print(yaml.safe_dump_all(made.manifests(place.stack()), sort_keys=False), end="")
