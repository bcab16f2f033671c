"""Runs golden cases against an edge, which must reach this process's upstreams as `upstream_host`."""

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
import urllib3
import yaml

from launcher.golden import upstream
from launcher.golden.case import Case, Expected, Group, Seen, Token
from launcher.golden.client import Reply, send
from launcher.golden.upstream import Upstream

HEAD = '_format_version: "3.0"\n'
APPLY_SECONDS = 10.0
"""Until an accepted configuration is in use."""


class Refused(Exception):
    """The edge rejected a group's configuration."""


@dataclass(frozen=True)
class Edge:
    """Addresses of the proxy and the admin port."""

    host: str
    port: int
    admin: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Kong-Admin-Token": self.token} if self.token else {}

    @property
    def admin_address(self) -> tuple[str, int]:
        parts = urlsplit(self.admin)
        assert parts.hostname is not None
        return parts.hostname, parts.port or 80


@dataclass(frozen=True)
class Outcome:
    case: Case
    wrong: list[str]
    """One line per difference."""


class Runner:
    def __init__(self, edge: Edge, upstreams: dict[str, Upstream], upstream_host: str) -> None:
        self._edge, self._upstreams, self._closed = edge, upstreams, _unused_port()
        self._addresses = {name: f"{upstream_host}:{each.port}" for name, each in upstreams.items()}
        self._addresses["long"] = "x" * 9_000
        self._addresses["closed"] = f"{upstream_host}:{self._closed}"

    def run(self, group: Group) -> Iterator[Outcome]:
        """Raises Refused if the edge rejects its configuration."""
        self._load(group)
        for case in group.cases:
            yield Outcome(case, self._run(case, group.tokens))

    def _load(self, group: Group) -> None:
        # A marker route shows when the configuration has been applied.
        marker = f"/golden-{time.monotonic_ns()}"
        config = json.loads(self._filled(json.dumps(group.config), group.tokens))
        shown = {"name": "request-termination", "config": {"status_code": 299, "message": "here"}}
        config["routes"] = [*config.get("routes", []), {"name": "golden-marker", "paths": [marker], "plugins": [shown]}]
        _identify(config)
        response = urllib3.request(
            "POST",
            f"{self._edge.admin}/config",
            json={"config": HEAD + yaml.safe_dump(config)},
            headers={"Content-Type": "application/json", **self._edge.headers},
            timeout=10,
            retries=False,
        )
        if response.status != 201:
            raise Refused(f"{response.status}: {response.data.decode(errors='replace')[:2_000]}")
        deadline = time.monotonic() + APPLY_SECONDS
        url = f"http://{self._edge.host}:{self._edge.port}{marker}"
        while _is_before(urllib3.request("GET", url, timeout=10, retries=False)):
            if time.monotonic() > deadline:
                raise Refused("accepted, but not applied in time")

    def _run(self, case: Case, tokens: dict[str, Token]) -> list[str]:
        for each in self._upstreams.values():
            each.reset()
            each.responses = [upstream.Response(**{**a.model_dump(), "body": a.body.encode()}) for a in case.responses]
        filled = self._filled(case.request.model_dump_json(), tokens)
        request = case.request.model_validate_json(filled)
        if request.to == "admin":
            request = request.model_copy(update={"headers": [*request.headers, *self._edge.headers.items()]})
        expected = Expected.model_validate_json(self._filled(case.expect.model_dump_json(by_alias=True), tokens))
        replies, served = [], []
        address = (self._edge.host, self._edge.port) if request.to == "edge" else self._edge.admin_address
        for _ in range(request.times):
            before = {name: len(each.seen) for name, each in self._upstreams.items()}
            replies.append(send(*address, request))
            served += [name for name, each in self._upstreams.items() for _ in each.seen[before[name] :]]
        return [*_differences(replies, expected), *self._seen(expected, served)]

    def _filled(self, text: str, tokens: dict[str, Token]) -> str:
        for name, address in self._addresses.items():
            text = text.replace("${" + name + "}", address)
        return re.sub(r"\$\{token:([^}]+)\}", lambda match: signed(tokens[match[1]]), text)

    def _seen(self, expected: Expected, served: list[str]) -> Iterator[str]:
        if expected.unseen and served:
            yield f"reached {', '.join(served)}, expected no request"
        if expected.served_by is not None and served != expected.served_by:
            yield f"served by {served}, expected {expected.served_by}"
        if expected.served is not None and Counter(served) != expected.served:
            yield f"served {dict(Counter(served))}, expected {expected.served}"
        if expected.one_target and len(set(served)) != 1:
            yield f"served by {served}, expected only one of them"
        if expected.upstream is not None:
            seen = self._upstreams[expected.upstream.by].seen
            if not seen:
                yield f"upstream {expected.upstream.by}: received no request"
            else:
                yield from (f"upstream: {each}" for each in _request_differences(seen[-1], expected.upstream))
            if expected.upstream.requests not in (None, len(served)):
                yield f"upstreams: {len(served)} requests, expected {expected.upstream.requests}"


def _is_before(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the previous configuration responded: with 404 or through a route for all paths."""
    return response.status == 404 or "X-Kong-Upstream-Latency" in response.headers


def _identify(config: dict[str, Any]) -> None:
    """New ids: the edge may still hold an earlier run's counters."""
    services = config.get("services", [])
    for entity in [*services, *config["routes"], *(route for each in services for route in each.get("routes", []))]:
        entity.setdefault("id", str(uuid4()))


@contextmanager
def running(edge: Edge, upstream_host: str = "127.0.0.1") -> Iterator[Runner]:
    with ExitStack() as stack:
        upstreams = {name: stack.enter_context(upstream.running(Upstream())) for name in ("one", "two", "three")}
        yield Runner(edge, upstreams, upstream_host)


def signed(token: Token) -> str:
    claims = {
        name: int(time.time()) + value if name in ("exp", "nbf") and isinstance(value, int) else value
        for name, value in token.claims.items()
    }
    headers = {name: value for name, value in token.headers.items() if name != "alg"}
    return jwt.encode(claims, token.key, algorithm=token.algorithm, headers=headers)


def _differences(replies: Sequence[Reply], expected: Expected) -> Iterator[str]:
    reply = replies[-1]
    statuses = [each.status for each in replies]
    allowed = expected.status if isinstance(expected.status, list) else [expected.status]
    if reply.status not in allowed:
        yield f"status {reply.status}, expected {expected.status}; body {reply.body[:200]!r}"
    if expected.statuses is not None and statuses != expected.statuses:
        yield f"statuses {statuses}, expected {expected.statuses}"
    for name, value in expected.headers.items():
        if (wrong := _mismatch(reply.all(name), value)) is not None:
            yield f"{name}: {wrong}"
    text = reply.body.decode(errors="replace")
    if expected.body is not None and not _matches(text, expected.body):
        yield f"body {text[:200]!r}, expected {expected.body!r}"
    if expected.json_ is not None:
        yield from _json_differences(text, expected.json_)


def _json_differences(text: str, expected: dict[str, Any]) -> Iterator[str]:
    try:
        found = json.loads(text)
    except ValueError:
        yield f"body is not JSON: {text[:200]!r}"
        return
    for name, value in expected.items():
        if not (
            name in found and (found[name] == value or (isinstance(value, str) and _matches(str(found[name]), value)))
        ):
            yield f"body: {name} is {found.get(name)!r}, expected {value!r}"


def _request_differences(seen: upstream.Seen, expected: Seen) -> Iterator[str]:
    body = seen.body.decode(errors="replace")
    for what, found, wanted in (("method", seen.method, expected.method), ("target", seen.target, expected.target)):
        if wanted is not None and not _matches(found, wanted):
            yield f"{what} {found!r}, expected {wanted!r}"
    if expected.body is not None and not _matches(body, expected.body):
        yield f"body {body[:200]!r}, expected {expected.body!r}"
    if expected.size not in (None, len(seen.body)):
        yield f"body of {len(seen.body)} bytes, expected {expected.size}"
    for name, value in expected.headers.items():
        values = [each for key, each in seen.headers if key.lower() == name.lower()]
        if (wrong := _mismatch(values, value)) is not None:
            yield f"{name}: {wrong}"


def _mismatch(values: list[str], expected: str | list[str] | None) -> str | None:
    if expected is None:
        return f"{values}, expected none" if values else None
    wanted = expected if isinstance(expected, list) else [expected]
    if len(values) == len(wanted) and all(map(_matches, values, wanted)):
        return None
    return f"{values}, expected {wanted}"


def _matches(text: str, expected: str) -> bool:
    if expected.startswith("~"):
        return re.fullmatch(expected[1:], text, re.DOTALL) is not None
    return text == expected


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
