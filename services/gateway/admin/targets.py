"""Targets' health, shown and set by hand."""

from typing import Any

from flask import Flask, abort, request

from services.gateway.balancing.nodes import Node
from services.gateway.balancing.peers import address_of
from services.gateway.config.schema import Target, Upstream
from services.gateway.runtime import Runtime


def register(app: Flask, runtime: Runtime) -> None:
    def upstream_of(reference: str) -> Upstream:
        configuration = runtime.gateway.edge.configuration
        return configuration.upstreams[configuration.find("upstreams", reference) or abort(404)]

    @app.get("/upstreams/<upstream>/health")
    def health(upstream: str) -> dict[str, Any]:
        found = upstream_of(upstream)
        if request.args.get("balancer_health") in ("1", "true"):
            return {"data": _balancer_health(runtime, found)}
        return {"data": health_of(runtime, found), "next": None, "node_id": "00000000-0000-0000-0000-000000000000"}

    @app.route("/upstreams/<upstream>/targets/<target>/<any(healthy, unhealthy):state>", methods=["PUT", "POST"])
    @app.route(
        "/upstreams/<upstream>/targets/<target>/<address>/<any(healthy, unhealthy):state>", methods=["PUT", "POST"]
    )
    def mark(upstream: str, target: str, state: str, address: str | None = None) -> tuple[str, int]:
        nodes = [node for node in _nodes(runtime, upstream_of(upstream)) if target in (node.target, node.host)]
        chosen = [node for node in nodes if address in (None, node.address)] or abort(404)
        for node in chosen:
            runtime.in_loop(node.health.mark, state == "healthy")
        return "", 204


def health_of(runtime: Runtime, upstream: Upstream) -> list[dict[str, Any]]:
    nodes = _nodes(runtime, upstream)
    targets = runtime.gateway.edge.configuration.targets.values()
    return [_shown(target, nodes, upstream) for target in targets if target.upstream == upstream.id]


def _shown(target: Target, nodes: list[Node], upstream: Upstream) -> dict[str, Any]:
    mine = [node for node in nodes if node.target == target.target]
    host, port = address_of(target.target)
    available = sum(node.weight for node in mine if node.health.is_healthy)
    total = sum(node.weight for node in mine)
    addresses = [
        {"ip": node.pool.host, "port": node.pool.port, "weight": node.weight, "health": _health([node], upstream)}
        for node in mine
    ]
    return {
        "id": target.id,
        "target": f"{host}:{port}",
        "weight": target.weight,
        "tags": target.tags,
        "upstream": {"id": upstream.id},
        "health": _health(mine, upstream),
        "data": {
            "host": host,
            "port": port,
            "nodeWeight": target.weight,
            "weight": {"total": total, "available": available, "unavailable": total - available},
            "addresses": addresses,
        },
    }


def _health(nodes: list[Node], upstream: Upstream) -> str:
    if not nodes:
        return "DNS_ERROR"
    if not upstream.healthchecks.is_on:
        return "HEALTHCHECKS_OFF"
    return "HEALTHY" if any(node.health.is_healthy for node in nodes) else "UNHEALTHY"


def _balancer_health(runtime: Runtime, upstream: Upstream) -> dict[str, Any]:
    is_available = not upstream.healthchecks.is_on or runtime.in_loop(
        runtime.gateway.edge.peers(upstream.id).is_available
    )
    health = "HEALTHCHECKS_OFF" if not upstream.healthchecks.is_on else "HEALTHY" if is_available else "UNHEALTHY"
    return {"id": upstream.id, "name": upstream.name, "health": health, "details": health_of(runtime, upstream)}


def _nodes(runtime: Runtime, upstream: Upstream) -> list[Node]:
    peers = runtime.gateway.edge.peers(upstream.id)
    return runtime.in_loop(lambda: list(peers.nodes))
