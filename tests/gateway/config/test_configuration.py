"""Section 1 of Kong's behaviour: a declarative file is loaded as a whole, or rejected with places and reasons."""

from uuid import UUID, uuid5

import pytest

from services.gateway.config import configuration
from services.gateway.config.errors import InvalidConfiguration
from services.gateway.proxy.edge import Edge

HEAD = '_format_version: "3.0"\n'
SERVICE = "services: [{name: s, host: h, routes: [{name: r, paths: [/]}]}]\n"


def edge(text: str) -> Edge:
    return Edge(configuration.load(text))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "not YAML: "),
        (HEAD + "services: []\nplugins: []\nservices: []", "line 4: services: duplicate key, first used on line 2"),
        (HEAD + "services:\n- host: h\n  host: i", "line 4: services[0].host: duplicate key, first used on line 3"),
        ("", "file: "),
        ("- a", "file: "),
        ("services: []", "_format_version: required field missing"),
        ("_format_version: 3.0", "_format_version: "),
        ('_format_version: "9"', "_format_version: "),
        (HEAD + "sevices: []", "sevices: unknown field"),
        (HEAD + "services: [{host: h, hots: x}]", "services[0].hots: unknown field"),
        (HEAD + "services: [{name: s}]", "services[0].host: required field missing"),
        (HEAD + "services: [{host: h, retries: '5'}]", "services[0].retries: "),
        (HEAD + "services: [{url: 'tcp://h'}]", "services[0].protocol: expected one of: http, https"),
        (HEAD + "services: [1]", "services[0]: "),
        (HEAD + "services: [{host: h, port: 70000}]", "services[0].port: "),
        (HEAD + "services: [{host: h, routes: [{name: r}]}]", "services[0].routes[0]: must set one of"),
        (HEAD + "routes: [{paths: [x]}]", "routes[0].paths[0]: should start with: / (fixed path) or ~/ (regex path)"),
        (HEAD + "routes: [{paths: ['~/(']}]", "routes[0].paths[0]: is not a regular expression: "),
        (HEAD + "routes: [{methods: [get]}]", "routes[0].methods[0]: "),
        (HEAD + "routes: [{hosts: ['a.*.b']}]", "routes[0].hosts[0]: invalid wildcard"),
        (
            HEAD + "routes: [{paths: [/], service: gone}]",
            "line 2: routes[0].service: invalid reference 'service: gone'",
        ),
        (
            HEAD + "consumers: [{}]",
            "consumers[0]: at least one of these fields must be non-empty: 'custom_id', 'username'",
        ),
        (HEAD + "plugins: [{name: jwt, route: gone}]", "plugins[0].route: invalid reference 'route: gone'"),
        (HEAD + "plugins: [{name: cors, consumer: gone}]", "plugins[0].consumer: invalid reference 'consumer: gone'"),
        (
            HEAD + "targets: [{target: 'h:1', upstream: gone}]",
            "targets[0].upstream: invalid reference 'upstream: gone'",
        ),
        (HEAD + "upstreams: [{name: u, algorithm: latency}]", "upstreams[0].algorithm: expected one of: round-robin, "),
        (
            HEAD + "services: [{name: s, host: h}, {name: s, host: i}]",
            "services[1]: uniqueness violation: 'services' entity s already declared",
        ),
        (
            HEAD + "plugins: [{name: cors}, {name: cors}]",
            "plugins[1]: uniqueness violation: 'plugins' entity cors already declared",
        ),
        (HEAD + "plugins: [{name: magic}]", "plugins[0].name: plugin 'magic' is not supported"),
        (HEAD + "plugins: [{name: cors, config: {orgins: []}}]", "plugins[0].config.orgins: unknown field"),
        (
            HEAD + "plugins: [{name: prometheus, config: {bandwidth_metrics: 1}}]",
            "config.bandwidth_metrics: expected a boolean",
        ),
        (
            HEAD + "consumers: [{username: a, plugins: [{name: jwt}]}]",
            "consumers[0].plugins[0].consumer: jwt cannot be for one consumer",
        ),
        (
            HEAD + "consumers: [{username: a, jwt_secrets: [{key: k}]}, {username: b, jwt_secrets: [{key: k}]}]",
            "uniqueness violation: 'jwt_secrets' entity k already declared",
        ),
        (HEAD + "services: [{id: x, host: h}]", "services[0].id: "),
        (
            HEAD + "plugins: [{name: file-log, config: {path: /a, custom_fields_by_lua: {a: return 1}}}]",
            "config.custom_fields_by_lua.a: the only Lua supported here is: return nil",
        ),
        (
            HEAD + "plugins: [{name: post-function, config: {header_filter: [os.exit()]}}]",
            "config.header_filter[0]: the only Lua supported here is: if kong.request.get_forwarded_scheme()",
        ),
        (HEAD + "plugins: [{name: post-function, config: {log: [return]}}]", "config.log: unknown field"),
    ],
)
def test_an_invalid_file_is_rejected(text: str, error: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        edge(text)
    assert any(error in str(each) for each in refused.value.errors), refused.value.errors


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        edge(HEAD + "plugins: [{name: magic}, {name: jwt, config: {x: 1}}, {name: cors, config: {y: 1}}]")
    assert len(refused.value.errors) == 3


def test_entities_may_be_nested_or_refer_by_name_or_id() -> None:
    inside = configuration.load(HEAD + SERVICE)
    (route,) = inside.routes.values()
    (service_id,) = inside.services
    for reference in ("s", service_id):
        beside = configuration.load(
            HEAD + f"services: [{{name: s, host: h}}]\nroutes: [{{name: r, paths: [/], service: {reference}}}]"
        )
        assert beside.routes == {route.id: route}


def test_ids_are_those_that_kong_derives() -> None:
    """Routes of equal strength are ranked by id, so the ids must be Kong's."""
    loaded = configuration.load(HEAD + SERVICE)
    namespace = uuid5(UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5"), "routes")
    assert list(loaded.routes) == [str(uuid5(namespace, "r"))]
    assert list(configuration.load(HEAD + SERVICE).routes) == list(loaded.routes)


def test_url_is_shorthand_for_its_parts() -> None:
    (service,) = configuration.load(HEAD + "services: [{url: 'http://h:81/p'}]").services.values()
    assert (service.protocol, service.host, service.port, service.path) == ("http", "h", 81, "/p")


def test_the_hash_follows_the_text() -> None:
    first, second = configuration.load(HEAD), configuration.load(HEAD + SERVICE)
    assert len(first.hash) == 32
    assert first.hash != second.hash
