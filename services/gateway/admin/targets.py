"""Targets' health, shown and set by hand."""

from typing import Any

from flask import Flask, abort, request

from services.gateway.balancing.nodes import Node
from services.gateway.balancing.peers import address_of
from services.gateway.config.schema import Target, Upstream
from services.gateway.runtime import Runtime

NODE = "00000000-0000-0000-0000-000000000000"


def register(app: Flask, runtime: Runtime) -> None:
    def upstream_of(reference: str) -> Upstream:
        configuration = runtime.gateway.edge.configuration
        return configuration.upstreams[configuration.find("upstreams", reference) or abort(404)]

    @app.get("/upstreams/<upstream>/health")
    def health(upstream: str) -> dict[str, Any]:
        found = upstream_of(upstream)
        if request.args.get("balancer_health") in ("1", "true"):
            return {"data": _balancer_health(runtime, found), "next": None, "node_id": NODE}
        targets = sorted(health_of(runtime, found), key=lambda target: str(target["id"]))
        return {"data": targets, "next": None, "node_id": NODE}

    @app.put("/upstreams/<upstream>/targets/<target>/<any(healthy, unhealthy):state>")
    @app.put("/upstreams/<upstream>/targets/<target>/<address>/<any(healthy, unhealthy):state>")
    def mark(upstream: str, target: str, state: str, address: str | None = None) -> tuple[str, int]:
        nodes = [node for node in _nodes(runtime, upstream_of(upstream)) if target in (node.target, node.host)]
        chosen = [node for node in nodes if address in (None, node.address)] or abort(404)
        for node in chosen:
            runtime.in_loop(node.health.mark, state == "healthy")
        return "", 204


def health_of(runtime: Runtime, upstream: Upstream) -> list[dict[str, Any]]:
    nodes, configuration = _nodes(runtime, upstream), runtime.gateway.edge.configuration
    targets = (target for target in configuration.targets.values() if target.upstream == upstream.id)
    return [_shown(target, nodes, upstream, configuration.loaded_at) for target in targets]


def _shown(target: Target, nodes: list[Node], upstream: Upstream, loaded_at: int) -> dict[str, Any]:
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
        "tags": target.tags or None,
        "upstream": {"id": upstream.id},
        "created_at": loaded_at,
        "updated_at": loaded_at,
        "health": _health(mine, upstream),
        "data": {
            "host": host,
            "port": port,
            "dns": "A",
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
    balancer = "HEALTHY" if is_available else "UNHEALTHY"
    health = balancer if upstream.healthchecks.is_on else "HEALTHCHECKS_OFF"
    hosts = [target["data"] for target in health_of(runtime, upstream)]
    for host in hosts:
        for address in host["addresses"]:
            address["healthy"] = address.pop("health") != "UNHEALTHY"
    weight = {name: sum(host["weight"][name] for host in hosts) for name in ("total", "available", "unavailable")}
    details = {"healthy": is_available, "weight": weight, "hosts": hosts}
    return {"id": upstream.id, "health": health, "balancer_health": balancer, "details": details}


def _nodes(runtime: Runtime, upstream: Upstream) -> list[Node]:
    peers = runtime.gateway.edge.peers(upstream.id)
    return runtime.in_loop(lambda: list(peers.nodes))
