"""Section 14 of Kong's behaviour: what is logged of an exchange, and what never is."""

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from chassis.base import tracing
from chassis.base.tracing import Span
from tests.gateway.conftest import Serve
from tests.gateway.documents import plugin, through
from tests.gateway.upstream import DEADLINE_SECONDS, Response, Upstream, running
from tests.gateway.waiting import until

PARTNER = {"username": "partner", "keyauth_credentials": [{"key": "s3cret"}]}


@pytest.fixture
def collector() -> Iterator[Upstream]:
    with running(Upstream()) as collector:
        yield collector


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    exported: list[Span] = []
    tracing.export_to(exported.append)
    yield exported
    tracing.export_to(None)


def lines(path: Path, count: int) -> list[dict[str, Any]]:
    until(lambda: path.exists() and path.read_text().count("\n") >= count, lambda: str(path))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_describes_a_proxied_request(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "log"
    client = serve(through(plugin("file-log", path=str(path)), plugin("key-auth"), consumers=[PARTNER]))
    upstream.responses = [Response(201, [("X-A", "1"), ("X-A", "2")], b"body that is not logged")]
    client.post("/a?q=1&q=2", b"secret body", {"apikey": "s3cret", "Authorization": "Bearer token", "X-B": "b"})
    (line,) = lines(path, 1)
    request, response = line["request"], line["response"]
    assert (request["method"], request["uri"]) == ("POST", "/a?q=1&q=2")
    assert request["url"] == f"http://127.0.0.1:{client.port}/a?q=1&q=2"
    assert request["querystring"] == {"q": ["1", "2"]}
    assert (request["headers"]["authorization"], request["headers"]["x-b"]) == ("REDACTED", "b")
    assert request["headers"]["x-consumer-username"] == "partner"
    assert len(request["id"]) == 32
    assert request["size"] > len(b"secret body")
    assert (response["status"], response["headers"]["x-a"]) == (201, ["1", "2"])
    assert response["size"] > len(b"body that is not logged")
    assert set(line["latencies"]) == {"request", "kong", "proxy", "receive"}
    assert line["tries"][0]["port"] == upstream.port
    assert (line["route"]["name"], line["service"]["name"]) == ("r", "s")
    assert (line["consumer"]["username"], "id" in line["authenticated_entity"]) == ("partner", True)
    assert (line["client_ip"], line["upstream_uri"], line["upstream_status"]) == ("127.0.0.1", "/a", "201")
    assert (line["source"], line["workspace_name"]) == ("upstream", "default")
    written = path.read_text()
    assert not [secret for secret in ("secret body", "body that is not logged", "Bearer token") if secret in written]


def test_a_request_whose_client_has_gone_has_a_line_and_a_span(
    serve: Serve, upstream: Upstream, tmp_path: Path, spans: list[Span]
) -> None:
    path = tmp_path / "log"
    client = serve(through(plugin("file-log", path=str(path))))
    upstream.responses = [Response(pause_seconds=DEADLINE_SECONDS)]
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: bool(upstream.seen), lambda: "not forwarded")
        # Reset: one that only ends its sending may still be reading.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (line,) = lines(path, 1)
    assert (line["response"]["status"], line["route"]["name"]) == (499, "r")
    (span,) = [span for span in spans if span.trace_id == line["request"]["id"] and not span.parent_id]
    assert (span.name, span.attributes["http.response.status_code"], span.error) == ("GET r", 499, "")


def test_a_line_lists_failed_tries_and_refusals(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "log"
    document = {
        "services": [{"url": "http://127.0.0.1:1", "retries": 1, "routes": [{"paths": ["/a"]}]}],
        "plugins": [plugin("file-log", path=str(path), reopen=True)],
    }
    client = serve(document)
    client.get("/a")
    client.get("/nowhere")
    failed, missed = lines(path, 2)
    assert [each["code"] for each in failed["tries"]] == [502, 502]
    assert (failed["upstream_status"], failed["source"], failed["latencies"]["proxy"]) == ("502, 502", "kong", -1)
    assert (missed["response"]["status"], missed["tries"], missed["upstream_status"]) == (404, [], "")
    assert "route" not in missed


def test_fields_may_be_removed(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "log"
    names = (
        "request.uri",
        "request.headers.cookie",
        "request.querystring",
        "response.headers",
        "route.paths",
        "service",
    )
    left_out = dict.fromkeys((*names, "upstream_uri", "no.such.field"), "return nil")
    client = serve(through(plugin("file-log", path=str(path), custom_fields_by_lua=left_out)))
    for _ in range(2):
        client.get("/a", {"Cookie": "a=b", "X-B": "b"})
    for line in lines(path, 2):
        assert not {"uri", "querystring"} & line["request"].keys()
        assert "url" in line["request"]
        assert ("cookie" in line["request"]["headers"], line["request"]["headers"]["x-b"]) == (False, "b")
        assert line["response"].keys() == {"status", "size"}
        assert ("paths" in line["route"], line["route"]["name"]) == (False, "r")
        assert not {"service", "upstream_uri", "no"} & line.keys()


def test_a_whole_record_may_be_removed(serve: Serve, upstream: Upstream, tmp_path: Path) -> None:
    left_out = {"request": "return nil", "route": "return nil"}
    serve(through(plugin("file-log", path=str(tmp_path / "log"), custom_fields_by_lua=left_out))).get("/a")
    (line,) = lines(tmp_path / "log", 1)
    assert not {"request", "route"} & line.keys()
    assert line["service"]["name"] == "s"


def test_an_unwritable_log_file_does_not_affect_responses(serve: Serve, tmp_path: Path) -> None:
    assert serve(through(plugin("file-log", path=str(tmp_path / "no" / "log")))).get("/").status == 200


def test_a_collector_gets_one_object_per_post(serve: Serve, collector: Upstream) -> None:
    collector.responses = [Response(500), Response(200)]
    endpoint = f"http://{collector.address}/logs?source=edge"
    config = {"http_endpoint": endpoint, "headers": {"X-Token": "t"}}
    serve(through(plugin("http-log", **config))).get("/a")
    until(lambda: len(collector.seen) == 2, lambda: str(collector.seen))
    sent = collector.last
    assert (sent.method, sent.target, sent.header("Content-Type")) == ("POST", "/logs?source=edge", "application/json")
    assert sent.header("X-Token") == "t"
    assert json.loads(sent.body)["request"]["uri"] == "/a"


def test_a_collector_may_get_batches(serve: Serve, collector: Upstream) -> None:
    queue = {"max_batch_size": 10, "max_coalescing_delay": 0.3}
    client = serve(through(plugin("http-log", http_endpoint=f"http://{collector.address}/", queue=queue)))
    for path in ("/a", "/b", "/c"):
        client.get(path)
    until(lambda: bool(collector.seen), lambda: "nothing came")
    assert [line["request"]["uri"] for line in json.loads(collector.last.body)] == ["/a", "/b", "/c"]


def test_a_missing_collector_delays_no_request(serve: Serve) -> None:
    queue = {"max_retry_time": 0.1, "max_entries": 1}
    client = serve(through(plugin("http-log", http_endpoint="http://127.0.0.1:1/", queue=queue)))
    assert [client.get("/").status for _ in range(5)] == [200] * 5


def test_bytes_and_consumers_are_counted_if_configured(serve: Serve, upstream: Upstream) -> None:
    metrics = plugin("prometheus", bandwidth_metrics=True, status_code_metrics=True, per_consumer=True)
    document = through(metrics, plugin("key-auth"), consumers=[PARTNER])
    document["services"][0]["name"] = "counted"
    serve(document).get("/", {"apikey": "s3cret"})
    labels = 'consumer="partner",direction="{}",route="r",service="counted",workspace="default"'

    def counted(direction: str) -> bool:
        name = "kong_bandwidth_bytes{" + labels.format(direction) + "} "
        found = [line for line in generate_latest().decode().splitlines() if line.startswith(name)]
        return bool(found) and float(found[0].split()[-1]) > 50

    until(lambda: counted("ingress") and counted("egress"), lambda: generate_latest().decode())
    assert 'code="200",consumer="partner",route="r",service="counted"' in generate_latest().decode()
