"""`./souk kong ...`: the file that rules the edge, rendered, explained, and held against any edge."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from launcher.cli import app, command, console, operate
from launcher.errors import LaunchError
from launcher.golden import case, runner

kong = typer.Typer(help="The file that rules the edge: kong/kong.yml.", no_args_is_help=True)
app.add_typer(kong, name="kong")

File = Annotated[Path, typer.Argument(help="A declarative configuration, or a template of one.")]
KONG_YML = Path("kong/kong.yml")


@kong.command()
@command
def render(file: File = KONG_YML) -> None:
    """Print the file with this installation's addresses and secrets filled in: what real Kong is given."""
    operate("gateway", "services.gateway.config.render", str(file.resolve()))


@kong.command()
@command
def lint(file: File = KONG_YML) -> None:
    """Explain by line what is wrong with the file, filled in for this installation. Exits with 1 when something is."""
    operate("gateway", "services.gateway.lint", str(file.resolve()))


@kong.command()
@command
def golden(
    against: Annotated[str, typer.Option(help="host:port where the edge takes requests.")],
    admin: Annotated[str, typer.Option(help="URL of its admin port. It is given configurations, and loses its own.")],
    upstream_host: Annotated[str, typer.Option(help="How the edge reaches this machine.")] = "127.0.0.1",
) -> None:
    """Ask an edge, real Kong or ours, every golden case."""
    host, _, port = against.removeprefix("http://").rstrip("/").partition(":")
    asked, failed = 0, 0
    with runner.running(runner.Edge(host, int(port or 80), admin.rstrip("/")), upstream_host) as asking:
        for name, group in case.groups():
            for outcome in _outcomes(asking, name, group):
                asked += 1
                failed += bool(outcome.wrong)
                for wrong in outcome.wrong:
                    console.print(
                        f"[red]{escape(name)}[/] {escape(outcome.case.name)}: {escape(wrong)}", soft_wrap=True
                    )
    console.print(f"{asked - failed} of {asked} cases hold.")
    if failed:
        raise typer.Exit(1)


def _outcomes(asking: runner.Runner, name: str, group: case.Group) -> list[runner.Outcome]:
    try:
        return list(asking.run(group))
    except runner.Refused as refusal:
        raise LaunchError(f"The edge does not take a configuration of {name}: {refusal}") from refusal
