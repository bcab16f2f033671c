"""Section 15 of Kong's behaviour: a configuration is replaced as a whole or not at all."""

import hashlib
import io
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from chassis.base import tracing
from chassis.base.tracing import Span
from services.gateway.admin.app import create_admin
from services.gateway.config.errors import as_lua
from services.gateway.lint import errors_in
from tests.gateway.conftest import InThread, Serve
from tests.gateway.documents import plugin, through
from tests.gateway.process import Process
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Upstream, running
from tests.gateway.waiting import until

HEAD = '_format_version: "3.0"\n'
WHOLE = (
    HEAD
    + """
services:
- name: shop
  host: targets
  tags: [a, b]
  routes:
  - {name: items, paths: [/items], tags: [a]}
  plugins: [{name: key-auth}]
consumers:
- username: mina
  keyauth_credentials: [{key: k1}]
  jwt_secrets: [{key: j1, secret: s}]
  acls: [{group: g}]
upstreams:
- name: targets
  targets: [{target: "127.0.0.1:1"}]
"""
)


@pytest.fixture
def admin(edge: InThread) -> FlaskClient:
    edge.load("services: []")
    return create_admin(edge.runtime, {}).test_client()


@pytest.fixture
def exported() -> Iterator[list[Span]]:
    spans: list[Span] = []
    tracing.export_to(spans.append)
    yield spans
    tracing.export_to(None)


def loaded(admin: FlaskClient, text: str = WHOLE) -> Any:
    reply = admin.post("/config", json={"config": text})
    assert reply.status_code == 201, reply.json
    return reply.json


def test_a_sent_configuration_takes_effect_at_once(admin: FlaskClient, edge: InThread) -> None:
    entities = loaded(admin)
    assert [service["name"] for service in entities["services"].values()] == ["shop"]
    assert (admin.get("/config").json or {})["config"] == WHOLE
    assert Client(edge.port).get("/items").status == 401


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"config": WHOLE}},
        {"json": {"_format_version": "3.0", "services": []}},
        {"data": WHOLE, "content_type": "text/yaml"},
        {"data": {"config": WHOLE}, "content_type": "application/x-www-form-urlencoded"},
        {"data": {"config": WHOLE}, "content_type": "multipart/form-data"},
        {"data": {"config": (io.BytesIO(WHOLE.encode()), "kong.yml")}, "content_type": "multipart/form-data"},
    ],
)
def test_a_configuration_may_be_sent_in_several_formats(admin: FlaskClient, sent: dict[str, Any]) -> None:
    assert admin.post("/config", **sent).status_code == 201


def test_an_unchanged_configuration_is_a_304(admin: FlaskClient) -> None:
    loaded(admin)
    assert admin.post("/config?check_hash=1", json={"config": WHOLE}).status_code == 304
    assert admin.post("/config?check_hash=1", json={"config": WHOLE + "# other"}).status_code == 201


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("services: [{name: s}]", {"services": [{"host": "required field missing"}]}),
        ("services: [{host: a}, {host: h, hots: 1}]", {"services": [None, {"hots": "unknown field"}]}),
        ("sevices: []", {"sevices": "unknown field"}),
        (
            "services: [{host: h, routes: [{name: r}]}]",
            {"services": [{"routes": [{"@entity": ["must set one of 'methods', 'hosts', 'headers', 'paths'"]}]}]},
        ),
        (
            "services: [{name: s, host: h}, {name: s, host: h}]",
            {"services": [None, "uniqueness violation: 'services' entity s already declared"]},
        ),
    ],
)
def test_an_invalid_configuration_is_rejected_in_kongs_format(admin: FlaskClient, text: str, fields: Any) -> None:
    loaded(admin)
    reply = admin.post("/config", json={"config": HEAD + text})
    body = reply.json or {}
    assert (reply.status_code, body["code"], body["name"]) == (400, 14, "invalid declarative configuration")
    assert body["fields"] == fields
    assert body["message"] == f"declarative config is invalid: {as_lua(fields)}"
    assert body["lines"][0].startswith("line 2: ")
    assert (admin.get("/config").json or {})["config"] == WHOLE


def test_errors_may_be_grouped_by_entity(admin: FlaskClient) -> None:
    text = HEAD + "services: [{name: s, host: h, port: x, routes: [{name: r}]}]"
    body = admin.post("/config?flatten_errors=1", json={"config": text}).json or {}
    assert body["fields"] == {}
    assert [(each["entity_type"], each["errors"][0].get("field")) for each in body["flattened_errors"]] == [
        ("service", "port"),
        ("route", None),
    ]


@pytest.mark.parametrize("sent", [{"data": b""}, {"data": b"{", "content_type": "application/json"}])
def test_what_is_not_a_configuration_is_rejected(admin: FlaskClient, sent: dict[str, Any]) -> None:
    assert admin.post("/config", **sent).status_code == 400


def test_web_pages_cannot_change_anything(admin: FlaskClient) -> None:
    reply = admin.post("/config", data=WHOLE, content_type="text/plain", headers={"Origin": "http://evil.test"})
    assert reply.status_code == 403


def test_lint_reports_lines() -> None:
    assert errors_in(WHOLE) == []
    (error,) = errors_in(WHOLE + "plugins:\n- name: cors\n  config:\n    orgins: []\n")
    assert (error.line, error.place, error.message) == (21, "plugins[0].config.orgins", "unknown field")
    (error,) = errors_in("services:\n- a: b: c\n")
    assert (error.line, error.message.startswith("not YAML: ")) == (2, True)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/services", ["shop"]),
        ("/services?tags=a,b", ["shop"]),
        ("/services?tags=a,c", []),
        ("/services?tags=c/b", ["shop"]),
        ("/routes", ["items"]),
        ("/services/shop/routes", ["items"]),
        ("/services/shop/plugins", ["key-auth"]),
        ("/plugins", ["key-auth"]),
        ("/consumers", ["mina"]),
        ("/consumers/mina/key-auth", ["k1"]),
        ("/consumers/mina/jwt", ["j1"]),
        ("/consumers/mina/acls", ["g"]),
        ("/upstreams", ["targets"]),
        ("/upstreams/targets/targets", ["127.0.0.1:1"]),
        ("/upstreams/targets/health", ["127.0.0.1:1"]),
        ("/key-auths", ["k1"]),
        ("/jwts", ["j1"]),
    ],
)
def test_entities_are_listed(admin: FlaskClient, path: str, found: list[str]) -> None:
    loaded(admin)
    names = ("name", "username", "key", "group", "target")
    data = (admin.get(path).json or {})["data"]
    assert [next(each[name] for name in names if each.get(name)) for each in data] == found


def test_lists_are_paged(admin: FlaskClient) -> None:
    loaded(admin, HEAD + "consumers: [{username: a}, {username: b}, {username: c}]")
    first = admin.get("/consumers?size=2").json or {}
    second = admin.get(first["next"]).json or {}
    assert [each["username"] for each in first["data"] + second["data"]] == ["a", "b", "c"]
    assert second["next"] is None


def test_one_entity_is_found_by_name_and_id(admin: FlaskClient) -> None:
    (id_,) = loaded(admin)["services"]
    for reference in ("shop", id_):
        service = admin.get(f"/services/{reference}").json or {}
        assert (service["id"], service["host"], service["retries"]) == (id_, "targets", 5)
    route = admin.get("/routes/items").json or {}
    assert route["service"] == {"id": id_}
    assert (admin.get("/routes/items/service").json or {})["name"] == "shop"


@pytest.mark.parametrize("path", ["/services/gone", "/nothing", "/services/shop/targets", "/upstreams/gone/health"])
def test_missing_entities_are_404(admin: FlaskClient, path: str) -> None:
    loaded(admin)
    reply = admin.get(path)
    assert (reply.status_code, reply.json) == (404, {"message": "Not found"})


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/services", "cannot create 'services' entities when not using a database"),
        ("PUT", "/services/shop", "cannot create or update 'services' entities by 'name' when not using a database"),
        ("DELETE", "/routes/items", "cannot remove 'routes' entities by 'name' when not using a database"),
    ],
)
def test_single_entities_cannot_be_changed(admin: FlaskClient, method: str, path: str, message: str) -> None:
    loaded(admin)
    reply = admin.open(path, method=method, json={"host": "h"})
    assert (reply.status_code, (reply.json or {})["code"], (reply.json or {})["message"]) == (405, 12, message)


def test_the_body_of_a_write_is_validated_before_it_is_refused(admin: FlaskClient) -> None:
    reply = admin.post("/services", json={"hots": 1})
    assert reply.status_code == 400
    assert reply.json == {
        "code": 2,
        "name": "schema violation",
        "message": "2 schema violations (host: required field missing; hots: unknown field)",
        "fields": {"host": "required field missing", "hots": "unknown field"},
    }


def test_other_methods_are_405(admin: FlaskClient) -> None:
    assert [admin.delete(path).status_code for path in ("/status", "/config")] == [405, 405]
    assert (admin.get("/status/ready").json or {}) == {"message": "ready"}


def test_health_is_a_metric_if_configured(admin: FlaskClient) -> None:
    loaded(admin)
    assert b"kong_upstream_target_health" not in admin.get("/metrics").data
    loaded(admin, WHOLE + "plugins: [{name: prometheus, config: {upstream_health_metrics: true}}]")
    text = admin.get("/metrics").data.decode()
    assert 'state="healthchecks_off",subsystem="http"} 1' in text.split('target="127.0.0.1:1"', 1)[1]
    for name in ("kong_node_info", "kong_datastore_reachable", "kong_nginx_requests_total", "kong_nginx_timers"):
        assert name in text


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[Process, Upstream]]:
    with running(Upstream()) as upstream:
        process = Process(tmp_path, upstream.address)
        yield process, upstream
        process.running.terminate()
        assert process.running.wait(DEADLINE_SECONDS) == 0


def test_no_request_is_lost_while_it_reloads(process: tuple[Process, Upstream]) -> None:
    edge, upstream = process
    document = HEAD + (
        "services: [{host: up, routes: [{paths: [/]}]}]\n"
        f"upstreams: [{{name: up, targets: [{{target: '{upstream.address}'}}]}}]\n"
    )
    Client(edge.admin_port).post("/config", document.encode(), {"Content-Type": "text/yaml"})
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.extend(Client(edge.port).get("/").status for _ in range(60)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    reloads = 0
    while any(thread.is_alive() for thread in threads):
        body = (document + f"# {reloads}").encode()
        assert Client(edge.admin_port).post("/config", body, {"Content-Type": "text/yaml"}).status == 201
        reloads += 1
    assert (len(statuses), set(statuses)) == (240, {200})
    assert reloads > 5


def test_a_signal_reloads_the_file(process: tuple[Process, Upstream]) -> None:
    edge, _ = process
    file = Path(edge.environment["SOUK_KONG_FILE"])
    good, client = file.read_text(), Client(edge.port)
    file.write_text(HEAD + "services: [{hots: x}]")
    os.kill(edge.running.pid, signal.SIGHUP)
    until(lambda: "file rejected" in edge.log.read_text(), edge.log.read_text)
    assert client.get("/products/").status == 200
    file.write_text(good + "\n# changed")
    os.kill(edge.running.pid, signal.SIGHUP)
    until(lambda: "configuration loaded" in edge.log.read_text(), edge.log.read_text)
    assert client.get("/products/").status == 200


def test_flattened_errors_name_their_entities_as_kong_does(admin: FlaskClient) -> None:
    text = HEAD + (
        "nothing: 1\nservices: [{name: s, host: h, tags: [t], port: x, routes: [{name: r, paths: [nothing], methods: [get]}]}]"
    )
    body = admin.post("/config?flatten_errors=1", json={"config": text}).json or {}
    assert body["fields"] == {"nothing": "unknown field"}
    service, route = sorted(body["flattened_errors"], key=lambda each: str(each["entity_type"]), reverse=True)
    assert (service["entity_name"], service["entity_tags"]) == ("s", ["t"])
    assert service["entity"] == {"name": "s", "host": "h", "tags": ["t"], "port": "x"}
    assert (route["entity_type"], route["entity_name"]) == ("route", "r")
    assert {each["field"] for each in route["errors"]} == {"paths.1", "methods.1"}
    assert {each["type"] for each in route["errors"]} == {"field"}


def test_what_cannot_be_parsed_is_an_error_of_the_file(admin: FlaskClient) -> None:
    body = admin.post("/config", json={"config": "a: b: c"}).json or {}
    assert set(body["fields"]) == {"error"}


def test_unset_lists_are_null_and_set_ones_are_not(admin: FlaskClient) -> None:
    loaded(admin, HEAD + "services: [{name: s, host: h, tags: [], routes: [{name: r, paths: [/r]}]}]")
    route, service = admin.get("/routes/r").json or {}, admin.get("/services/s").json or {}
    assert [route[name] for name in ("methods", "hosts", "headers", "snis", "tags")] == [None] * 5
    assert (route["paths"], service["tags"]) == (["/r"], [])


def test_plugins_are_shown_with_their_defaults(admin: FlaskClient) -> None:
    loaded(
        admin,
        HEAD
        + "plugins: [{name: rate-limiting, config: {minute: 1, policy: redis, redis: {host: r}}}, {name: bot-detection}]",
    )
    configs = {each["name"]: each["config"] for each in (admin.get("/plugins").json or {})["data"]}
    limit = configs["rate-limiting"]
    assert (limit["limit_by"], limit["redis"]["host"], limit["redis"]["port"]) == ("consumer", "r", 6379)
    assert configs["bot-detection"] == {"allow": [], "deny": []}


def test_json_names_its_charset(admin: FlaskClient) -> None:
    for reply in (admin.get("/services"), admin.get("/nothing"), admin.post("/config", json={"config": "a"})):
        assert reply.content_type == "application/json; charset=utf-8"


@pytest.mark.parametrize("path", ["/certificates", "/snis", "/vaults", "/hmac-auths", "/oauth2"])
def test_kinds_that_a_file_cannot_have_are_empty(admin: FlaskClient, path: str) -> None:
    assert admin.get(path).json == {"data": [], "next": None}


@pytest.mark.parametrize("size", ["0", "1001", "many"])
def test_a_pages_size_is_checked(admin: FlaskClient, size: str) -> None:
    reply = admin.get(f"/services?size={size}")
    assert (reply.status_code, (reply.json or {})["code"]) == (400, 9)


def test_tools_read_kongs_version_first(admin: FlaskClient) -> None:
    node = admin.get("/").json or {}
    assert (node["version"], node["configuration"]["database"]) == ("3.9.3", "off")


def test_passwords_are_shown_as_kong_keeps_them(admin: FlaskClient) -> None:
    loaded(admin, HEAD + "consumers: [{username: mina, basicauth_credentials: [{username: m, password: p}]}]")
    (credential,) = (admin.get("/consumers/mina/basic-auth").json or {})["data"]
    salted = f"p{credential['consumer']['id']}".encode()
    assert credential["password"] == hashlib.sha1(salted, usedforsecurity=False).hexdigest()


def test_metrics_are_written_as_kong_writes_them(admin: FlaskClient, serve: Serve) -> None:
    client = serve(
        through(plugin("prometheus", status_code_metrics=True, latency_metrics=True, bandwidth_metrics=True))
    )
    client.get("/")
    assert admin.get("/metrics").content_type == "text/plain; charset=UTF-8"
    count = (
        'kong_http_requests_total{service="s",route="r",code="200",source="service",workspace="default",consumer=""} '
    )

    def written() -> list[str]:
        return admin.get("/metrics").text.splitlines()

    # Counted once the response is sent.
    until(lambda: any(line.startswith(count) for line in written()), lambda: "\n".join(written()))
    lines = written()
    assert any(line.startswith(count) and line.removeprefix(count).isdecimal() for line in lines)
    assert any(
        line.startswith('kong_kong_latency_ms_bucket{service="s",route="r",workspace="default",le="1"} ')
        for line in lines
    )
    types = {"kong_http_requests_total counter", "kong_bandwidth_bytes counter", "kong_nginx_requests_total gauge"}
    assert {f"# TYPE {each}" for each in types} <= set(lines)


def test_metrics_have_exemplars_for_whoever_reads_them(admin: FlaskClient, serve: Serve, exported: list[Span]) -> None:
    client = serve(through(plugin("prometheus", latency_metrics=True)))
    client.get("/")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    series = r'kong_request_latency_ms_bucket{le="[0-9.]+",route="r",service="s",workspace="default"}'

    def written() -> str:
        return admin.get("/metrics", headers=accept).text

    def leads_to_the_trace() -> bool:
        found = re.search(rf'{series} [0-9.]+ # {{trace_id="([0-9a-f]+)"}}', written())
        return found is not None and found[1] == exported[0].trace_id

    # Counted once the response is sent.
    until(leads_to_the_trace, written)
    assert written().endswith("# EOF\n")
    assert "_created" not in written()
    assert admin.get("/metrics", headers=accept).content_type.startswith("application/openmetrics-text")
    assert "trace_id" not in admin.get("/metrics").text
