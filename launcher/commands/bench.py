"""`./souk bench NAME`: measures ours beside a baseline in one run, on servers of its own."""

import pkgutil
from typing import Annotated

import typer

import bench as benchmarks
from launcher import progress, testing
from launcher.cli import app, command, console
from launcher.errors import LaunchError

NAMES = sorted(
    module.name.replace("_", "-")
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if not module.name.startswith("_")
)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(NAMES)}.")],
) -> None:
    """Measure ours beside a baseline in one run and print the ratio; arguments go to the benchmark."""
    name = name.replace("_", "-")
    if name not in NAMES:
        raise LaunchError(f"There is no benchmark {name}; there are: {', '.join(NAMES) or 'none'}.")
    module = name.replace("-", "_")
    command_line = ["-m", f"bench.{module}", *context.args]
    code = testing.on_servers(progress.for_terminal(), command_line, module in benchmarks.ON_INSTALLATION)
    if code:
        raise typer.Exit(code)
    console.print(f"Machines are noisy: compare within this run only. Source: bench/{module}.py")
