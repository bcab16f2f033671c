"""Section 13 of Kong's behaviour: transformed requests and responses."""

import json
from typing import Any

import pytest

from services.gateway.config.errors import InvalidConfiguration
from tests.gateway.conftest import Serve
from tests.gateway.documents import plugin, through
from tests.gateway.upstream import Response, Upstream


def test_headers_are_removed_renamed_replaced_added_and_appended_in_this_order(
    serve: Serve, upstream: Upstream
) -> None:
    config = {
        "remove": {"headers": ["X-Gone"]},
        "rename": {"headers": ["X-Old:X-New", "X-None:X-Nothing"]},
        "replace": {"headers": ["X-There:new", "X-Missing:new"]},
        "add": {"headers": ["X-There:added", "X-Added:1:2", "X-Gone:again"]},
        "append": {"headers": ["X-There:appended"]},
    }
    sent = {"X-Gone": "1", "X-Old": "old", "X-There": "there", "x-kept": "kept"}
    serve(through(plugin("request-transformer", **config))).get("/", sent)
    seen = {name: [v for n, v in upstream.last.headers if n == name] for name, _ in upstream.last.headers}
    assert seen["X-New"] == ["old"]
    assert seen["X-There"] == ["new", "appended"]
    assert seen["X-Added"] == ["1:2"]
    assert seen["X-Gone"] == ["again"]
    assert seen["x-kept"] == ["kept"]
    assert not {"X-Old", "X-Missing", "X-Nothing"} & set(seen)


def test_a_transformer_does_not_break_the_framing(serve: Serve, upstream: Upstream) -> None:
    config = {"add": {"headers": ["Transfer-Encoding:chunked"]}, "replace": {"headers": ["Content-Length:1"]}}
    config["remove"] = {"headers": ["Host"]}
    assert serve(through(plugin("request-transformer", **config))).post("/", b"abc").status == 200
    assert upstream.last.body == b"abc"
    assert upstream.last.header("Host") == upstream.address


def test_templates_use_values_of_the_request(serve: Serve, upstream: Upstream) -> None:
    config = {
        "add": {"headers": ["X-User:$(uri_captures.user)", "X-Q:q=$(query_params.q)", "X-From:$(headers['X-Who'])"]},
        "replace": {"uri": "/inner/$(uri_captures.user)/$(uri_captures[2])"},
    }
    document = through(plugin("request-transformer", **config), paths=["~/users/(?<user>[^/]+)/(\\w+)$"])
    serve(document).get("/users/mina/orders?q=1", {"X-Who": "me"})
    assert upstream.last.target == "/inner/mina/orders?q=1"
    values = [upstream.last.header(name) for name in ("X-User", "X-Q", "X-From")]
    assert values == ["mina", "q=1", "me"]


def test_a_line_break_in_a_value_starts_no_header(serve: Serve, upstream: Upstream) -> None:
    config = {"add": {"headers": ["X-Q:$(query_params.q)"]}}
    serve(through(plugin("request-transformer", **config))).get("/?q=a%0d%0aX-Evil:%201%00")
    assert upstream.last.header("X-Evil") is None
    assert "X-Evil" in (upstream.last.header("X-Q") or "")


def test_the_query_and_the_method_change(serve: Serve, upstream: Upstream) -> None:
    config = {
        "http_method": "PUT",
        "remove": {"querystring": ["gone"]},
        "rename": {"querystring": ["old:new"]},
        "replace": {"querystring": ["there:2"]},
        "add": {"querystring": ["there:3", "added:x y"]},
        "append": {"querystring": ["list:b"]},
    }
    serve(through(plugin("request-transformer", **config))).get("/p?gone=1&old=1&there=1&list=a")
    assert (upstream.last.method, upstream.last.target) == ("PUT", "/p?there=2&list=a&list=b&new=1&added=x%20y")


@pytest.mark.parametrize(
    ("content_type", "sent", "arrives"),
    [
        ("application/json", b'{"gone": 1, "kept": [1]}', b'{"kept":[1],"added":"yes"}'),
        ("application/json; charset=utf-8", b"", b""),
        ("application/json", b"{", b"{"),
        ("application/json", b"[1]", b"[1]"),
        ("application/x-www-form-urlencoded", b"gone=1&kept=2", b"kept=2&added=yes"),
        ("text/plain", b"gone", b"gone"),
    ],
)
def test_the_body_changes_where_it_can_be_read(
    serve: Serve, upstream: Upstream, content_type: str, sent: bytes, arrives: bytes
) -> None:
    config = {"remove": {"body": ["gone"]}, "add": {"body": ["added:yes"]}}
    serve(through(plugin("request-transformer", **config))).post("/", sent, {"Content-Type": content_type})
    assert upstream.last.body == arrives
    assert upstream.last.header("Content-Length") == str(len(arrives))


def test_headers_of_a_404_change_too(serve: Serve, upstream: Upstream) -> None:
    upstream.responses = [Response(headers=[("X-Gone", "1"), ("X-Old", "old"), ("Server", "origin")])]
    config = {
        "remove": {"headers": ["X-Gone"]},
        "rename": {"headers": ["X-Old:X-New"]},
        "replace": {"headers": ["Server:shop"]},
        "add": {"headers": ["X-Frame-Options:DENY"]},
        "append": {"headers": ["X-Frame-Options:SAMEORIGIN"]},
    }
    document = through(paths=["/a"]) | {"plugins": [plugin("response-transformer", **config)]}
    client = serve(document)
    reply = client.get("/a")
    assert (reply.header("X-Gone"), reply.header("X-New"), reply.header("Server")) == (None, "old", "shop")
    assert reply.all("X-Frame-Options") == ["DENY", "SAMEORIGIN"]
    assert client.get("/nowhere").header("X-Frame-Options") == "DENY"


@pytest.mark.parametrize("chunks", [None, [b'{"gone":', b' 1, "n": 1}']])
def test_json_in_a_response_changes(serve: Serve, upstream: Upstream, chunks: list[bytes] | None) -> None:
    headers = [("Content-Type", "application/json")]
    upstream.responses = [Response(headers=headers, body=b'{"gone": 1, "n": 1}', chunks=chunks)]
    config = {
        "remove": {"json": ["gone"]},
        "replace": {"json": ["n:2"], "json_types": ["number"]},
        "add": {"json": ["s:1", "b:true"], "json_types": ["string", "boolean"]},
        "append": {"json": ["list:a"]},
    }
    client = serve(through(plugin("response-transformer", **config)))
    reply = client.get("/")
    assert reply.json == {"n": 2, "s": "1", "b": True, "list": ["a"]}
    assert (reply.header("Content-Length"), reply.header("Transfer-Encoding")) == (None, "chunked")
    assert client.send("HEAD", "/").status == 200


@pytest.mark.parametrize("body", [b"no json", b"[1]"])
def test_a_response_that_is_not_a_json_object_is_unchanged(serve: Serve, upstream: Upstream, body: bytes) -> None:
    upstream.responses = [Response(headers=[("Content-Type", "application/json")], body=body)]
    assert serve(through(plugin("response-transformer", remove={"json": ["a"]}))).get("/").body == body


def test_a_response_too_large_to_change_is_an_error(serve: Serve, upstream: Upstream) -> None:
    secret = json.dumps({"secret": "x" * (9 * 2**20)}).encode()
    upstream.responses = [Response(headers=[("Content-Type", "application/json")], body=secret)]
    reply = serve(through(plugin("response-transformer", remove={"json": ["secret"]}))).get("/")
    assert (reply.status, reply.message) == (500, "An unexpected error occurred")


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (Response(body=b'{"a": 1', missing_bytes=1), 502),
        (Response(body=b"x" * 100_000, missing_bytes=1), 502),
        (Response(chunks=[b"{"]), 504),
    ],
)
def test_a_response_that_cannot_be_read_whole_is_an_error(
    serve: Serve, upstream: Upstream, response: Response, status: int
) -> None:
    response.headers = [("Content-Type", "application/json"), ("X-Inner", "1")]
    upstream.responses = [response]
    if response.chunks:
        upstream.between_chunks.clear()
    changes = plugin("response-transformer", add={"json": ["b:1"], "headers": ["X-Added:1"]})
    document = through(changes, plugin("cors", origins=["*"]))
    document["services"][0] |= {"read_timeout": 300, "retries": 0}
    reply = serve(document).get("/", {"Accept": "application/json"})
    assert (reply.status, reply.json["b"]) == (status, "1")
    assert reply.json["message"].startswith("An invalid response" if status == 502 else "The upstream server")
    assert reply.all("Access-Control-Allow-Origin") == ["*"]
    assert (reply.all("X-Added"), reply.header("X-Inner"), reply.header("Via")) == (["1"], None, "1.1 souk-gateway")


@pytest.mark.parametrize(
    ("name", "config", "error"),
    [
        ("request-transformer", {"add": {"headers": ["X-A"]}}, "config.add.headers[0]: key 'X-A' has no value"),
        ("request-transformer", {"add": {"headers": ["X-A:$(os.getenv('A'))"]}}, "config.add.headers[0]: "),
        ("request-transformer", {"replace": {"uri": "/$(headers.a .. headers.b)"}}, "config.replace.uri: "),
        ("request-transformer", {"remove": {"header": ["a"]}}, "config.remove.header: unknown field"),
        ("response-transformer", {"add": {"json": ["a"]}}, "config.add.json[0]: key 'a' has no value"),
        ("response-transformer", {"add": {"json": ["a:1"], "json_types": ["int"]}}, "config.add.json_types[0]: "),
    ],
)
def test_an_invalid_configuration_is_rejected(serve: Serve, name: str, config: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        serve(through(plugin(name, **config)))
    assert error in str(refused.value)


@pytest.mark.parametrize("source", ["headers", "query_params", "uri_captures"])
def test_a_dash_in_a_template_is_rejected(serve: Serve, source: str) -> None:
    with pytest.raises(InvalidConfiguration, match=rf"write \$\({source}.x_source\)"):
        serve(through(plugin("request-transformer", add={"headers": [f"x-from:$({source}.x-source)"]})))
