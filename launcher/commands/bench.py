"""`./souk bench NAME`: compare our code with a baseline on temporary servers."""

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
    record: Annotated[bool, typer.Option("--record", help="Write the result into docs/performance.md.")] = False,
) -> None:
    """Compare our code with a baseline in one run and print the ratio. Other arguments go to the benchmark."""
    name = name.replace("_", "-")
    if name not in NAMES:
        raise LaunchError(f"Unknown benchmark {name}. Choose from: {', '.join(NAMES) or 'none'}.")
    module = name.replace("-", "_")
    command_line = ["-m", *(["bench._record", module] if record else [f"bench.{module}"]), *context.args]
    code = testing.on_servers(progress.for_terminal(), command_line, module in benchmarks.ON_INSTALLATION)
    if code:
        raise typer.Exit(code)
    console.print(f"Compare numbers within one run only: machines are noisy. Source: bench/{module}.py")
