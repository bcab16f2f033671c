"""What the loggers write of an exchange: Kong's fields. No body, no token."""

from collections import defaultdict
from typing import Any

from services.gateway.answers import Answer
from services.gateway.exchange import Exchange
from services.gateway.fields import Fields

REDACTED = frozenset({"authorization", "proxy-authorization"})


def entry(exchange: Exchange, answer: Answer) -> dict[str, Any]:
    match = exchange.match
    route, service = (match.route, match.service) if match else (None, None)
    made: dict[str, Any] = {
        "request": _request(exchange),
        "response": {"status": answer.status, "size": exchange.sent_bytes, "headers": _headers(answer.headers)},
        "latencies": _latencies(exchange),
        "tries": [_try(each) for each in exchange.tries],
        "client_ip": exchange.client_ip,
        "started_at": int(exchange.started_at * 1000),
        "upstream_uri": exchange.upstream_uri.partition("?")[0],
        "upstream_status": ", ".join(exchange.upstream_statuses),
        "source": "upstream" if exchange.from_upstream else "kong",
        "workspace": "default",
        "workspace_name": "default",
    }
    if route is not None:
        made["route"] = route.model_dump(mode="json", exclude={"plugins", "service"}, exclude_none=True)
        if service is not None:
            made["route"]["service"] = {"id": service.id}
    if service is not None:
        made["service"] = service.model_dump(mode="json", exclude={"plugins", "routes"}, exclude_none=True)
    if exchange.consumer is not None:
        who = exchange.consumer
        made["consumer"] = {"id": who.id, "username": who.username, "custom_id": who.custom_id}
    if exchange.credential is not None:
        made["authenticated_entity"] = {"id": exchange.credential.id}
    return made


def _request(exchange: Exchange) -> dict[str, Any]:
    head = exchange.head
    query: dict[str, Any] = exchange.query_arguments()
    return {
        "id": exchange.request_id,
        "method": exchange.method,
        "uri": head.target,
        "url": f"{exchange.scheme}://{exchange.hostname}:{head.port}{head.target}",
        "size": exchange.received_bytes,
        "querystring": query,
        "headers": _headers(exchange.headers_after_plugins()),
    }


def _headers(fields: Fields) -> dict[str, Any]:
    """Lower-case names; repeated ones as a list; what would let somebody in, hidden."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in fields:
        lower = name.lower()
        found[lower].append("REDACTED" if lower in REDACTED else value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _latencies(exchange: Exchange) -> dict[str, int]:
    """Milliseconds; proxy is -1 when no upstream answered."""
    whole = exchange.finished or exchange.seconds()
    waited = exchange.upstream_seconds
    before = (exchange.tried_at - exchange.started) if exchange.tried_at is not None else whole
    receive = max(whole - before - (waited or 0), 0) if waited is not None else 0
    return {
        "request": round(whole * 1000),
        "kong": round(max(whole - (waited or 0) - receive, 0) * 1000),
        "proxy": -1 if waited is None else round(waited * 1000),
        "receive": round(receive * 1000),
    }


def _try(each: Any) -> dict[str, Any]:
    made = {
        "ip": each.ip,
        "port": each.port,
        "balancer_latency": round(each.seconds * 1000),
        "balancer_start": int(each.started_at * 1000),
    }
    if each.failure is not None:
        made |= {"state": "failed", "code": each.failure}
    return made
