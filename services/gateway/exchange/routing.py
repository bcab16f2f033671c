"""Routing: the strongest match wins."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.gateway.config.patterns import compile_path, literal_start
from services.gateway.config.schema import Route, Service

Headers = Callable[[str], Sequence[str]]
"""Values by header name."""


@dataclass(frozen=True, slots=True)
class Match:
    route: Route
    service: Service | None
    matched: str
    """What strip_path strips."""
    captures: dict[str, str] = field(default_factory=dict)
    """Groups by number and name."""


class Rule:
    """A route with one of its paths, ranked by itself as in Kong."""

    def __init__(self, route: Route, service: Service | None, path: str | None) -> None:
        self.route, self.service = route, service
        self.methods = frozenset(route.methods)
        self.hosts = [_host_test(host) for host in route.hosts]
        self.headers = [(name, _header_test(values)) for name, values in route.headers.items()]
        self.prefix = path if path is not None and not path.startswith("~") else ""
        self.pattern = compile_path(path[1:]) if path is not None and path.startswith("~") else None
        self.start = self.prefix if self.pattern is None else literal_start((path or "")[1:])
        """What a matching path begins with."""
        self._whole = Match(route, service, self.prefix)
        self.priority = self._priority(path)

    def _priority(self, path: str | None) -> tuple[object, ...]:
        """Kong 3.9's actual order, not the documented one (kong/router/transform.lua).

        Four kinds of criteria, then plain hosts, regular expressions, number of kinds, of headers, regex_priority or
        prefix length, greatest id.
        """
        route = self.route
        kinds = sum(map(bool, (route.methods, route.hosts, route.headers, path)))
        plain_hosts = bool(route.hosts) and not any("*" in host for host in route.hosts)
        rank = route.regex_priority if self.pattern else len(self.prefix)
        return (kinds >= 4, plain_hosts, self.pattern is not None, kinds, len(route.headers), rank, route.id)

    def match(self, path: str, host: str, headers: Headers) -> Match | None:
        if self.hosts and not any(fits(host) for fits in self.hosts):
            return None
        if self.headers and not all(fits(headers(name)) for name, fits in self.headers):
            return None
        if self.pattern is None:
            return self._whole if path.startswith(self.prefix) else None
        found = self.pattern.match(path)
        return Match(self.route, self.service, found[0], _captures(found)) if found else None


def _captures(found: re.Match[str]) -> dict[str, str]:
    if not found.re.groups:
        return {}
    numbered = {str(number): found[number] for number in range(1, found.re.groups + 1)}
    return {name: value for name, value in {**numbered, **found.groupdict()}.items() if value is not None}


class Router:
    def __init__(self, routes: Iterable[Route], services: dict[str, Service]) -> None:
        rules = [rule for route in routes for rule in _rules(route, services.get(route.service or ""))]
        rules.sort(key=lambda rule: rule.priority, reverse=True)
        methods = {method for rule in rules for method in rule.methods}
        self._any_method = [rule for rule in rules if not rule.methods]
        self._by_method = {
            method: [rule for rule in rules if not rule.methods or method in rule.methods] for method in methods
        }

    def match(self, method: str, path: str, host: str, headers: Headers) -> Match | None:
        """`path`: normalised; `host`: the Host header."""
        for rule in self._by_method.get(method, self._any_method):
            if path.startswith(rule.start):
                found = rule.match(path, host, headers)
                if found is not None:
                    return found
        return None


def _rules(route: Route, service: Service | None) -> list[Rule]:
    """One per path; none for a disabled service."""
    if service is not None and not service.enabled:
        return []
    paths: list[str | None] = [*route.paths] or [None]
    return [Rule(route, service, path) for path in paths]


def _host_test(pattern: str) -> Callable[[str], bool]:
    """Case-sensitive, as in Kong."""
    name, _, port = pattern.partition(":")
    regex = re.escape(name).replace(r"\*", ".+") + (f":{port}" if port else r"(:\d+)?")
    fits = re.compile(regex).fullmatch
    return lambda host: fits(host) is not None


def _header_test(values: list[str]) -> Callable[[Sequence[str]], bool]:
    """Any of the values, in any case; a single `~*...` is a regular expression."""
    if len(values) == 1 and values[0].startswith("~*"):
        pattern = re.compile(values[0][2:], re.IGNORECASE)
        return lambda sent: any(pattern.search(value) for value in sent)
    allowed = frozenset(value.lower() for value in values)
    return lambda sent: any(value.lower() in allowed for value in sent)
