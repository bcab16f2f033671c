"""Renders `kong.yml`: `python -m services.gateway.config.render kong/kong.yml [TARGET]`.

A Jinja2 template over `values_of`; `tojson` keeps each value inside its YAML string.
"""

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import extract_tb
from typing import Any
from urllib.parse import unquote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, UndefinedError
from pydantic import TypeAdapter

from chassis.security.keys import JWTKey, keyring, public_pem
from services.gateway.config.schema import TargetAddress, TargetWeight
from services.gateway.settings import RenderSettings

INSIDE_HEADERS = ("X-Request-Timeout-Ms", "X-API-Key", "traceparent", "tracestate")
"""Between our services; the edge removes them from requests."""


_WEIGHTS = TypeAdapter(dict[TargetAddress, TargetWeight])


class MissingValue(Exception):
    """The message names the missing value."""


def render(file: Path, values: Mapping[str, Any]) -> str:
    """With the routes in `routes/` beside the file. Raises MissingValue."""
    routed = sorted(path.stem for path in file.parent.glob("routes/*.yml"))
    services = [name for name in routed if values.get("targets", {}).get(name) != []]
    environment = Environment(
        loader=FileSystemLoader(file.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, not HTML: values go through tojson
    )
    try:
        return environment.from_string(file.read_text()).render(values, services=services)
    except UndefinedError as error:
        raise MissingValue(f"line {_line(error)} of the template: missing value: {error.message}") from error


def _line(error: UndefinedError) -> int:
    frames = extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == "<template>"), 0)


def values_of(settings: RenderSettings) -> dict[str, Any]:
    """The template's values.

    `jwt_keys`: {key, algorithm} with `secret` or `public_key`. `targets`: host:port by upstream; `docs` is the admin
    port, a service its Consul name or only address, unless it has weights. `redis`: as in Kong's plugins. `limits`: requests
    per minute. Raises ValueError or OSError for weights that cannot be read.
    """
    targets = {
        name: [f"{name}.service.consul" if settings.consul_url else urlsplit(url).netloc]
        for name, url in settings.services.items()
    }
    admin = f"{settings.admin_host}:{settings.admin_port}"
    docs = admin if settings.edge_docs is None else settings.edge_docs
    targets["docs"] = [docs] if docs else []
    targets["console"] = [settings.edge_console] if settings.edge_console else []
    weights = weights_of(settings.weights_directory)
    targets |= {name: list(own) for name, own in weights.items()}
    return {
        "jwt_keys": [_credential(key) for key in keyring(settings).now().jwt.values()],
        "partner_keys": [key.get_secret_value() for key in settings.partner_keys],
        "targets": targets,
        "weights": weights,
        "tls": bool(settings.internal_ca_file),
        "redis": _redis(settings.redis_url),
        "limits": settings.rate_limits.model_dump(),
        "hsts_seconds": settings.hsts_seconds,
        "inside": [spelling for name in INSIDE_HEADERS for spelling in _spellings(name)],
        "log_path": settings.edge_log,
        "status": settings.edge_status or admin,
        "operators": settings.operators,
    }


def weights_of(folder: Path | None) -> dict[str, dict[str, int]]:
    """By service and target. Raises ValueError, OSError."""
    files = sorted(folder.glob("*.json")) if folder else []
    found = {file.stem: _WEIGHTS.validate_json(file.read_bytes(), strict=True) for file in files}
    return {name: weights for name, weights in found.items() if weights}


def _spellings(name: str) -> list[str]:
    """WSGI does not tell hyphens from underscores."""
    first, *rest = name.split("-")
    joints = itertools.product("-_", repeat=len(rest))
    return [first + "".join(map("".join, zip(joint, rest, strict=True))) for joint in joints]


def _redis(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 6379,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "database": int(parts.path.strip("/") or 0),
        # Milliseconds.
        "timeout": 250,
    }


def _credential(key: JWTKey) -> dict[str, str]:
    half = {"secret": key.verifying} if key.algorithm == "HS256" else {"public_key": public_pem(key)}
    return {"key": key.id, "algorithm": key.algorithm, **half}


def main(path: str, target: str = "") -> int:
    """Return the exit code."""
    try:
        text = render(Path(path), values_of(RenderSettings.current()))
        if target:
            Path(target).write_text(text)
        else:
            sys.stdout.write(text)
    except (OSError, ValueError, MissingValue, TemplateError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("Usage: python -m services.gateway.config.render FILE [TARGET]")
    sys.exit(main(*sys.argv[1:]))
