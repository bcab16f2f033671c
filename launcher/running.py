"""What can be asked of an installation that is up: how its programs are, where they are; and to start some again."""

import os
from concurrent.futures import ThreadPoolExecutor

from launcher.errors import LaunchError
from launcher.services import MAX_INSTANCES, SERVICES, sidecar_of
from launcher.stack import Stack


def pids(stack: Stack) -> dict[str, int]:
    """By program, the supervisor included."""
    found = {name: status.pid for name, status in stack.supervisor.statuses().items()}
    return found | {"supervisor": stack.supervisor.pid() or 0}


def readiness(stack: Stack) -> dict[str, bool]:
    """Does each program answer now? Empty when nothing runs."""
    statuses = stack.supervisor.statuses()

    def is_ready(name: str) -> bool:
        try:
            stack.probe_of(name)()
        except Exception:  # a probe speaks any of six protocols, and each library has its own errors
            return False
        return statuses[name].pid > 0

    with ThreadPoolExecutor() as pool:
        return dict(zip(statuses, pool.map(is_ready, statuses), strict=True))


def ensure_up(stack: Stack) -> None:
    if not stack.supervisor.is_running():
        raise LaunchError("Nothing is running: ./souk up starts it.")


def named(stack: Stack, service: str) -> list[str]:
    """The program of this name, or all programs of this service."""
    known = sorted(file.stem for file in stack.state.programs.glob("*.conf"))
    found = [name for name in known if service == name or name.partition("-")[0] == service]
    if not found:
        raise LaunchError(f"There is no {service} here; there are: {', '.join(known) or 'none, before ./souk up'}.")
    return found


def restart(stack: Stack, service: str) -> list[str]:
    """Start again; returns when all are ready. Instances one after the other, each drained first, so that the others serve on."""
    ensure_up(stack)
    names = named(stack, service)
    webs = [name for name in names if "-web" in name]
    with stack.state.lock():
        rolled = {*webs, *map(sidecar_of, webs)}
        others = [name for name in names if name not in rolled]
        for name in others:
            stack.supervisor.start_again(name)
        for web in webs:
            _roll(stack, web)
        for name in others:
            stack.wait_ready(name)
    return names


def _roll(stack: Stack, web: str) -> None:
    """Out of the traffic, start again, and into the traffic once it is ready."""
    sidecar = sidecar_of(web)
    has_sidecar = sidecar in stack.supervisor.statuses()
    if has_sidecar:
        stack.supervisor.stop([sidecar])
    stack.supervisor.start_again(web)
    stack.wait_ready(web)
    if has_sidecar:
        stack.supervisor.start_program(sidecar)
        stack.wait_ready(sidecar)


def scale(stack: Stack, service: str, count: int) -> None:
    """Have `count` instances of `service` in the traffic. Those that are too many are drained before they stop."""
    ensure_up(stack)
    if service not in SERVICES:
        raise LaunchError(f"There is no service {service}; there are: {', '.join(SERVICES)}.")
    if not 1 <= count <= MAX_INSTANCES:
        raise LaunchError(f"{service} can have 1 to {MAX_INSTANCES} instances.")
    if not stack.has("consul"):
        raise LaunchError(
            "Without Consul nobody would find more than one instance: install it, or give SOUK_CONSUL_URL."
        )
    with stack.state.lock():
        before = stack.services.instances(service)
        stack.supervisor.stop(map(sidecar_of, before[count:]))
        stack.installation.replicas = {**stack.installation.replicas, service: count}
        stack.rescale(service)


def addresses(stack: Stack) -> list[tuple[str, str]]:
    """What a person can open, by title."""
    ports, programs = stack.installation.ports, stack.supervisor.statuses()
    found = [
        ("API", stack.gateway_url),
        ("API over TLS", f"https://localhost:{ports['gateway-tls']}"),
        ("API documentation", f"{stack.gateway_url}/docs"),
        ("Mails sent", f"http://127.0.0.1:{ports['mailbox']}"),
    ]
    if "rabbitmq" in programs:
        address = f"http://127.0.0.1:{ports['rabbitmq-management']}"
        secrets = os.path.relpath(stack.state.path / "secrets.json")
        found.append(("RabbitMQ", f"{address} (user souk, password in {secrets})"))
    for name in ("consul", "prometheus"):
        server = stack.servers.get(name)
        if server and (server.given or name in programs):
            found.append((server.title, server.url))
    return found
