"""Whether a file is one that the gateway can execute: `python -m services.gateway.lint kong/kong.yml`, which runs nothing.

A template is rendered first; a fault is told with its line and the line's text, for the line is the rendered file's.
"""

import sys
from pathlib import Path

from jinja2 import TemplateError

from services.gateway.config import configuration
from services.gateway.config.errors import Fault, InvalidConfiguration
from services.gateway.config.render import MissingValue, RenderSettings, render, values_of
from services.gateway.proxy.edge import Edge


def faults_of(text: str) -> list[Fault]:
    """None for a file that is right; ordered by line. `str(fault)` is a sentence for a person."""
    try:
        Edge(configuration.load(text))
    except InvalidConfiguration as invalid:
        return list(invalid.faults)
    return []


def main(path: str) -> int:
    """Print each fault, with the text of its line. Gives the exit code."""
    try:
        text = render(Path(path), values_of(RenderSettings.current()))
    except TemplateError as error:
        print(f"{path}: line {getattr(error, 'lineno', '?')} of the template: {error}")
        return 1
    except (OSError, UnicodeDecodeError, MissingValue) as error:
        print(f"{path}: {error}")
        return 1
    faults, lines = faults_of(text), text.splitlines()
    for fault in faults:
        print(f"{path}: {fault}")
        if fault.line:
            print(f"    {lines[fault.line - 1].strip()}")
    print(f"{path}: {_counted(faults)}.")
    return 1 if faults else 0


def _counted(faults: list[Fault]) -> str:
    return {0: "nothing wrong", 1: "1 fault"}.get(len(faults), f"{len(faults)} faults")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m services.gateway.lint FILE")
    sys.exit(main(sys.argv[1]))
