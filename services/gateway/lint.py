"""Check a file without running it: `python -m services.gateway.lint kong/kong.yml`.

Lines are those of the rendered template.
"""

import sys
from pathlib import Path

from jinja2 import TemplateError

from services.gateway.config import configuration
from services.gateway.config.errors import ConfigError, InvalidConfiguration
from services.gateway.config.render import MissingValue, render, values_of
from services.gateway.proxy.edge import Edge
from services.gateway.settings import RenderSettings


def errors_in(text: str) -> list[ConfigError]:
    """Ordered by line."""
    try:
        Edge(configuration.load(text))
    except InvalidConfiguration as invalid:
        return list(invalid.errors)
    return []


def main(path: str) -> int:
    """Return the exit code."""
    try:
        text = render(Path(path), values_of(RenderSettings.current()))
    except TemplateError as error:
        print(f"{path}: line {getattr(error, 'lineno', '?')} of the template: {error}")
        return 1
    except (OSError, UnicodeDecodeError, MissingValue) as error:
        print(f"{path}: {error}")
        return 1
    errors, lines = errors_in(text), text.splitlines()
    for each in errors:
        print(f"{path}: {each}")
        if each.line:
            print(f"    {lines[each.line - 1].strip()}")
    print(f"{path}: {_counted(errors)}")
    return 1 if errors else 0


def _counted(errors: list[ConfigError]) -> str:
    return {0: "no errors", 1: "1 error"}.get(len(errors), f"{len(errors)} errors")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m services.gateway.lint FILE")
    sys.exit(main(sys.argv[1]))
