"""Fills the installation's secrets and addresses into `kong.yml`: `python -m services.gateway.render kong/kong.yml`.

The file is a Jinja2 template over two values: `jwt_keys`, a list of {key, algorithm} with either `secret` or `public_key`, and
`targets`, the host:port addresses of each upstream by name. Every value is written through `tojson`, so none can break out
of its YAML string.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, StrictUndefined, TemplateError, UndefinedError
from pydantic import Field

from chassis.keys import JWTKey, public_pem
from chassis.settings import Settings


class MissingValue(Exception):
    """The template asks for a value that was not given; the message names it."""


class RenderSettings(Settings):
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(ge=0, le=65535)
    """The gateway's admin port: the documentation page's target."""


def render(text: str, values: Mapping[str, Any]) -> str:
    """`text` with its placeholders filled in. Raises MissingValue."""
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, not HTML: values go through tojson
    )
    try:
        return environment.from_string(text).render(values)
    except UndefinedError as error:
        raise MissingValue(f"A value is missing: {error.message}.") from error


def values_of(settings: RenderSettings) -> dict[str, Any]:
    """What the template may ask for: `jwt_keys`, and `targets` by upstream, `docs` being the gateway's own admin port.

    Where there is Consul, an upstream is whoever it has as healthy; else the one address that the settings know.
    """
    targets = {
        name: [f"{name}.service.consul" if settings.consul_url else urlsplit(url).netloc]
        for name, url in settings.services.items()
    }
    targets["docs"] = [f"{settings.admin_host}:{settings.admin_port}"]
    return {
        "jwt_keys": [_credential(key) for key in settings.keyring.now().jwt.values()],
        "targets": targets,
    }


def _credential(key: JWTKey) -> dict[str, str]:
    half = {"secret": key.verifying} if key.algorithm == "HS256" else {"public_key": public_pem(key)}
    return {"key": key.id, "algorithm": key.algorithm, **half}


def main(path: str) -> int:
    """Print the rendered file, or one line on what is wrong. Gives the exit code."""
    try:
        sys.stdout.write(render(Path(path).read_text(), values_of(RenderSettings.current())))
    except (OSError, MissingValue, TemplateError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m services.gateway.render FILE")
    sys.exit(main(sys.argv[1]))
