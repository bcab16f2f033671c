"""The Typer application of `./souk`."""

import subprocess
from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from launcher import running
from launcher.errors import LaunchError, from_os_error, is_of_a_disk
from launcher.manifests import SERVICES
from launcher.stack import Stack
from launcher.state import REPOSITORY, StateFolder

app = typer.Typer(
    help="Run Souk on this machine: from nothing to a paid order in one command.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

P = ParamSpec("P")
Name = Annotated[
    str, typer.Argument(metavar="SERVICE", help="A program from `status`, or a service for all of its programs.")
]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Print a LaunchError with its log lines, or what is wrong with a disk, and exit with 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except LaunchError as error:
            _tell(error)
            raise typer.Exit(1) from error
        except OSError as error:
            if not is_of_a_disk(error):
                raise
            _tell(from_os_error(error, StateFolder().path))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            errors.print("souk: interrupted; stopped what was being started.")
            raise typer.Exit(130) from None

    return run


def _tell(error: LaunchError) -> None:
    errors.print(f"[bold red]souk:[/] {escape(str(error))}", soft_wrap=True)
    for line in error.last_lines:
        errors.print(f"    {escape(line)}", soft_wrap=True)


def operate(service: str, *arguments: str) -> None:
    """Exits with its code."""
    stack = Stack()
    running.expect(stack, *([SERVICES[service].store] if service in SERVICES else []))
    command_line, environment = stack.services.one_shot(service, *arguments)
    code = subprocess.run(command_line, env=environment, cwd=REPOSITORY, check=False).returncode
    if code:
        raise typer.Exit(code)
