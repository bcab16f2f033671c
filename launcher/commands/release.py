"""`./souk release`: the steps of .github/workflows/release.yml."""

from pathlib import Path
from typing import Annotated

import typer

from launcher import progress
from launcher import release as steps
from launcher.cli import app, command, console
from launcher.errors import LaunchError
from launcher.state import REPOSITORY

release = typer.Typer(help="Publish a version: its image, chart and notes.", no_args_is_help=True)
app.add_typer(release, name="release")


@release.command()
@command
def notes(
    tag: Annotated[str, typer.Argument(help="As in git: v1.2.3.")],
    file: Annotated[Path | None, typer.Option(help="Where to write them.")] = None,
) -> None:
    """Show what CHANGELOG.md says of a version, after a check that all places name the same one."""
    steps.check_tag(tag)
    text = steps.notes(tag.removeprefix("v"), steps.CHANGELOG.read_text())
    if file:
        file.write_text(text)
    else:
        print(text, end="")


@release.command()
@command
def image(name: Annotated[str, typer.Argument(help="With registry and tag.")]) -> None:
    """Build the image for amd64 and arm64 with its SBOM and provenance, and push it."""
    steps.push_image(name)


@release.command()
@command
def chart(
    target: Annotated[str, typer.Argument(help="oci://..., to push it there.")] = "",
    folder: Annotated[Path, typer.Option(help="Where the package is put.")] = REPOSITORY / "dist",
) -> None:
    """Package the chart, and push it."""
    console.print(steps.push_chart(target, folder, progress.for_terminal()), soft_wrap=True)


@release.command()
@command
def deploy(
    stage: Annotated[str, typer.Argument(help=f"One of: {', '.join(steps.STAGES)}.")],
    image: Annotated[str, typer.Argument(help="With registry and tag.")],
    canary: Annotated[bool, typer.Option(help="Services get it step by step; waits for the verdicts.")] = False,
    force: Annotated[bool, typer.Option(help="Overwrites what has been changed by hand, as a Canary.")] = False,
) -> None:
    """Install the chart in the cluster of KUBECONFIG; a roll-out that fails is taken back."""
    if stage not in steps.STAGES:
        raise LaunchError(f"Unknown stage {stage}. Choose from: {', '.join(steps.STAGES)}.")
    steps.deploy(stage, image, canary, force, progress.for_terminal())
