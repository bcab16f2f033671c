"""A golden case as its file says it: a request, and what the client and the upstream have to see of it.

In a file, `groups` each have a `config` (declarative, without its head) that the edge is given, and `cases` that are then asked
one after the other. In any text `${one}`, `${two}`, `${three}` stand for the addresses of three upstreams, `${dead}` for one
where nobody listens, `${long}` for 9,000 letters, and `${token:name}` for a JWT made as the group's `tokens` say.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).parents[2] / "kong" / "golden"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(Strict):
    """A JWT. `exp` and `nbf` among the claims are seconds from now where they are numbers."""

    claims: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    algorithm: str = "HS256"
    key: str = ""


class Request(Strict):
    to: Literal["edge", "admin"] = "edge"
    method: str = "GET"
    path: str = "/"
    headers: list[tuple[str, str]] = []
    """Sent as they are, in this order; Host is the edge's unless it is among them."""

    body: str = ""
    chunks: list[str] | None = None
    """The body in parts, sent chunked."""

    size: int = 0
    """A body of so many bytes in place of a written one."""

    raw: str | None = None
    """These bytes (Latin-1) in place of all else."""

    times: int = Field(default=1, ge=1, le=500)
    """Sent so often; the last answer is judged."""


class Answer(Strict):
    """What an upstream answers."""

    status: int = 200
    headers: list[tuple[str, str]] = []
    body: str = "{}"
    pause_seconds: float = Field(default=0, ge=0, le=5)
    hang_up: bool = False
    missing_bytes: int = 0


class Seen(Strict):
    """What an upstream saw of the last request. A header's value as in `Expected`."""

    by: str = "one"
    method: str | None = None
    target: str | None = None
    headers: dict[str, str | list[str] | None] = {}
    body: str | None = None
    size: int | None = None
    requests: int | None = None
    """How many reached all upstreams together."""


class Expected(Strict):
    status: int | list[int]
    headers: dict[str, str | list[str] | None] = {}
    """By name: the value, `~` and a regular expression that it matches whole, all values as a list, or null for none."""

    json_: dict[str, Any] | None = Field(default=None, alias="json")
    """Members that the body has."""

    body: str | None = None
    """The body whole, or `~` and a regular expression."""

    upstream: Seen | None = None
    unseen: bool = False
    """Nothing reached any upstream."""

    statuses: list[int] | None = None
    """Of every answer, where a request is sent several times."""

    served_by: list[str] | None = None
    """The upstreams that answered, one a request, in order."""

    one_target: bool = False
    """One upstream answered every request."""


class Case(Strict):
    name: str
    section: str = Field(pattern=r"^\d+$")
    """Of the description of Kong's behaviour that the case comes from."""

    request: Request = Request()
    answers: list[Answer] = [Answer()]
    """The upstreams' answers in turn, the last for ever."""

    expect: Expected


class Group(Strict):
    config: dict[str, Any]
    tokens: dict[str, Token] = {}
    cases: list[Case]


class _File(Strict):
    groups: list[Group]


class Unreadable(Exception):
    """A golden file does not say what it should; the message names the file and the place."""


def groups(folder: Path = FOLDER) -> list[tuple[str, Group]]:
    """Every group with the name of its file. Raises Unreadable."""
    return [(path.stem, group) for path in sorted(folder.glob("*.yaml")) for group in _read(path)]


def _read(path: Path) -> list[Group]:
    try:
        return _File.model_validate(yaml.safe_load(path.read_text())).groups
    except (yaml.YAMLError, ValidationError) as error:
        raise Unreadable(f"{path}: {error}") from error
