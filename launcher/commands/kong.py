"""`./souk kong`: render, run and lint the edge's configuration, and test any edge against the golden cases."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from urllib3.exceptions import HTTPError

from launcher import running
from launcher.cli import app, command, console, errors, operate
from launcher.errors import LaunchError
from launcher.golden import case, runner
from launcher.kong import STATUS, environment
from launcher.stack import Stack
from launcher.state import REPOSITORY

kong = typer.Typer(help="The edge's configuration, kong/kong.yml.", no_args_is_help=True)
app.add_typer(kong, name="kong")

File = Annotated[Path, typer.Argument(help="A declarative configuration or a template.")]
KONG_YML = Path("kong/kong.yml")


@kong.command()
@command
def render(file: File = KONG_YML) -> None:
    """Print the configuration for this installation, with its secrets, as real Kong takes it."""
    operate("gateway", "services.gateway.config.render", str(file.resolve()))


@kong.command()
@command
def run(
    listen: Annotated[str, typer.Option(help="Where Kong listens.")] = "127.0.0.1:8080",
    dns: Annotated[str, typer.Option(help="Consul's DNS, host:port. Without it: this installation's addresses.")] = "",
    log: Annotated[str, typer.Option(help="File for a line of each request, which Kong's workers may open.")] = "",
    trusted_ips: Annotated[str, typer.Option(help="Networks of the load balancer in front.")] = "",
    file: File = KONG_YML,
) -> None:
    """Run real Kong with this installation's configuration, or print what it needs where no `kong` is installed."""
    stack = Stack()
    running.ensure_up(stack)
    variables = environment(_rendered(stack, file, dns, log), listen, dns, trusted_ips, stack.services.internal_ca)
    for name, value in variables.items():
        console.print(f"{name}={value}", soft_wrap=True, markup=False)
    found = shutil.which("kong")
    if found is None:
        errors.print("There is no `kong` on the PATH: run Kong 3.9 in this environment; see docs/kong.md.")
        raise typer.Exit(1)
    raise typer.Exit(subprocess.run([found, "start"], env={**os.environ, **variables}, check=False).returncode)


def _rendered(stack: Stack, file: Path, dns: str, log: str) -> Path:
    arguments, given = stack.services.one_shot("gateway", "services.gateway.config.render", str(file.resolve()))
    given |= {"SOUK_EDGE_LOG": log, "SOUK_EDGE_STATUS": STATUS, **({} if dns else {"SOUK_CONSUL_URL": ""})}
    rendered = subprocess.run(arguments, env=given, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if rendered.returncode:
        raise LaunchError("The configuration cannot be rendered:", rendered.stderr.splitlines()[-15:])
    return stack.state.write("kong-real.yml", rendered.stdout)


@kong.command()
@command
def lint(file: File = KONG_YML) -> None:
    """List errors in the rendered configuration by line. Exits with 1 if there are any."""
    operate("gateway", "services.gateway.lint", str(file.resolve()))


@kong.command()
@command
def golden(
    against: Annotated[str, typer.Option(help="host:port of the edge.")],
    admin: Annotated[str, typer.Option(help="URL of its admin API. Its configuration is replaced.")],
    admin_token: Annotated[str, typer.Option(help="Token for the admin API.", envvar="KONG_ADMIN_TOKEN")] = "",
    upstream_host: Annotated[str, typer.Option(help="This machine's address, as the edge reaches it.")] = "127.0.0.1",
) -> None:
    """Run the golden cases against an edge, real Kong or ours."""
    host, _, port = against.removeprefix("http://").rstrip("/").partition(":")
    count, failed = 0, 0
    with runner.running(
        runner.Edge(host, int(port or 80), admin.rstrip("/"), admin_token), upstream_host
    ) as golden_runner:
        for name, group in case.groups():
            for outcome in _outcomes(golden_runner, name, group):
                count += 1
                failed += bool(outcome.wrong)
                for wrong in outcome.wrong:
                    console.print(
                        f"[red]{escape(name)}[/] {escape(outcome.case.name)}: {escape(wrong)}", soft_wrap=True
                    )
    console.print(f"{count - failed} of {count} cases pass.")
    if failed:
        raise typer.Exit(1)


def _outcomes(golden_runner: runner.Runner, name: str, group: case.Group) -> list[runner.Outcome]:
    try:
        return list(golden_runner.run(group))
    except runner.Refused as refusal:
        raise LaunchError(f"The edge rejected the configuration of {name}: {refusal}") from refusal
    except (OSError, HTTPError) as error:
        raise LaunchError(f"The edge does not respond: start it, or correct --against and --admin. {error}") from error
