"""A golden case: a request, and what the client and the upstream must get.

A file has `groups`, each with a `config` (declarative, without its head) and ordered `cases`. `${one}`, `${two}`, `${three}`
are upstreams, `${closed}` refuses connections, `${long}` is 9,000 letters, `${token:name}` a JWT from `tokens`.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).parents[2] / "kong" / "golden"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(Strict):
    """Numeric `exp` and `nbf` claims are seconds from now."""

    claims: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    algorithm: str = "HS256"
    key: str = ""


class Request(Strict):
    to: Literal["edge", "admin"] = "edge"
    method: str = "GET"
    path: str = "/"
    headers: list[tuple[str, str]] = []
    """Sent unchanged, in this order; Host is the edge's unless listed."""

    body: str = ""
    chunks: list[str] | None = None
    """The body, sent chunked."""

    size: int = 0
    """Bytes of a generated body."""

    raw: str | None = None
    """The whole request as Latin-1."""

    times: int = Field(default=1, ge=1, le=500)
    """The last response is checked."""


class Response(Strict):
    status: int = 200
    headers: list[tuple[str, str]] = []
    body: str = "{}"
    pause_seconds: float = Field(default=0, ge=0, le=5)
    hang_up: bool = False
    missing_bytes: int = 0


class Seen(Strict):
    """The last request at an upstream."""

    by: str = "one"
    method: str | None = None
    target: str | None = None
    headers: dict[str, str | list[str] | None] = {}
    body: str | None = None
    size: int | None = None
    requests: int | None = None
    """How many, on all upstreams."""


class Expected(Strict):
    status: int | list[int]
    headers: dict[str, str | list[str] | None] = {}
    """The value, `~` and a regular expression, a list of all values, or null for none."""

    json_: dict[str, Any] | None = Field(default=None, alias="json")
    """Members of the body."""

    body: str | None = None
    """The whole body, or `~` and a regular expression."""

    upstream: Seen | None = None
    unseen: bool = False

    statuses: list[int] | None = None
    """Of every response."""

    served_by: list[str] | None = None
    """The upstream of each request, in order."""

    served: dict[str, int] | None = None
    """Requests by upstream."""

    one_target: bool = False
    """One upstream served every request."""


class Case(Strict):
    name: str
    section: str = Field(pattern=r"^\d+$")
    """In the description of Kong's behaviour."""

    known: Literal["observed", "sources"]
    """Observed on Kong 3.9.3, or read in its sources."""

    request: Request = Request()
    responses: list[Response] = [Response()]
    """The last one repeats."""

    expect: Expected


class Group(Strict):
    config: dict[str, Any]
    tokens: dict[str, Token] = {}
    cases: list[Case]


class _File(Strict):
    groups: list[Group]


class InvalidCase(Exception):
    """The message names the file and the place."""


def groups(folder: Path = FOLDER) -> list[tuple[str, Group]]:
    """By file name. Raises InvalidCase."""
    return [(path.stem, group) for path in sorted(folder.glob("*.yaml")) for group in _read(path)]


def _read(path: Path) -> list[Group]:
    try:
        return _File.model_validate(yaml.safe_load(path.read_text())).groups
    except (yaml.YAMLError, ValidationError) as error:
        raise InvalidCase(f"{path}: {error}") from error
