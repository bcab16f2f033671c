"""A golden case, as in its file: a request, and what the client and the upstream must get of it.

In a file, each of `groups` has a `config` (declarative, without its head) for the edge, and `cases` to run in order. In any text
`${one}`, `${two}`, `${three}` stand for the addresses of three upstreams, `${closed}` for one that refuses connections, `${long}`
for 9,000 letters, and `${token:name}` for a JWT built from the group's `tokens`.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).parents[2] / "kong" / "golden"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(Strict):
    """A JWT. Numeric `exp` and `nbf` claims are seconds from now."""

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
    """The body in parts, sent chunked."""

    size: int = 0
    """Bytes of a generated body, instead of `body`."""

    raw: str | None = None
    """The whole request as Latin-1, instead of all else."""

    times: int = Field(default=1, ge=1, le=500)
    """How often it is sent; the last response is checked."""


class Response(Strict):
    """An upstream's response."""

    status: int = 200
    headers: list[tuple[str, str]] = []
    body: str = "{}"
    pause_seconds: float = Field(default=0, ge=0, le=5)
    hang_up: bool = False
    missing_bytes: int = 0


class Seen(Strict):
    """The last request that an upstream received. Header values as in `Expected`."""

    by: str = "one"
    method: str | None = None
    target: str | None = None
    headers: dict[str, str | list[str] | None] = {}
    body: str | None = None
    size: int | None = None
    requests: int | None = None
    """How many reached all upstreams in total."""


class Expected(Strict):
    status: int | list[int]
    headers: dict[str, str | list[str] | None] = {}
    """By name: the value, `~` and a regular expression for the whole value, a list of all values, or null for none."""

    json_: dict[str, Any] | None = Field(default=None, alias="json")
    """Members of the body."""

    body: str | None = None
    """The whole body, or `~` and a regular expression."""

    upstream: Seen | None = None
    unseen: bool = False
    """No upstream received a request."""

    statuses: list[int] | None = None
    """Of every response, when a request is sent several times."""

    served_by: list[str] | None = None
    """The upstream of each request, in order."""

    served: dict[str, int] | None = None
    """How many requests each upstream got, in any order."""

    one_target: bool = False
    """One upstream served every request."""


class Case(Strict):
    name: str
    section: str = Field(pattern=r"^\d+$")
    """The section of the description of Kong's behaviour that the case comes from."""

    known: Literal["observed", "sources"]
    """How: observed on Kong 3.9.3, or read in its sources."""

    request: Request = Request()
    responses: list[Response] = [Response()]
    """Of the upstreams, in order; the last one repeats."""

    expect: Expected


class Group(Strict):
    config: dict[str, Any]
    tokens: dict[str, Token] = {}
    cases: list[Case]


class _File(Strict):
    groups: list[Group]


class InvalidCase(Exception):
    """A golden file is malformed; the message names the file and the place."""


def groups(folder: Path = FOLDER) -> list[tuple[str, Group]]:
    """Every group with the name of its file. Raises InvalidCase."""
    return [(path.stem, group) for path in sorted(folder.glob("*.yaml")) for group in _read(path)]


def _read(path: Path) -> list[Group]:
    try:
        return _File.model_validate(yaml.safe_load(path.read_text())).groups
    except (yaml.YAMLError, ValidationError) as error:
        raise InvalidCase(f"{path}: {error}") from error
