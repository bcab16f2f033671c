"""Inspects, restarts and scales a running installation."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from launcher import mesh, queues
from launcher.errors import LaunchError
from launcher.manifests import SERVICES, WITH_POSTGRES
from launcher.services import MAX_INSTANCES, STAFF_EMAIL, sidecar_of
from launcher.stack import Stack
from launcher.supervisor import Status


def statuses(stack: Stack) -> dict[str, Status]:
    """Also of programs that run without the supervisor."""
    return stack.supervisor.statuses() or stack.supervisor.orphans()


def pids(stack: Stack) -> dict[str, int]:
    """Including the supervisor."""
    found = {name: status.pid for name, status in stack.supervisor.statuses().items()}
    return found | {"supervisor": stack.supervisor.pid() or 0}


def readiness(stack: Stack) -> dict[str, bool]:
    """Empty when nothing runs."""
    found = statuses(stack)

    def is_ready(name: str) -> bool:
        try:
            stack.probe_of(name)()
        except Exception:  # six protocols, each with its library's own errors
            return False
        return found[name].pid > 0

    with ThreadPoolExecutor() as pool:
        return dict(zip(found, pool.map(is_ready, found), strict=True))


def ensure_up(stack: Stack) -> None:
    if not stack.supervisor.is_running():
        raise LaunchError("Souk is not running: start it with ./souk up.")


def expect(stack: Stack, *servers: str) -> None:
    """Raises LaunchError for the first of them that does not answer."""
    ensure_up(stack)

    def failure(name: str) -> Exception | None:
        try:
            stack.probe_of(name)()
        except Exception as error:  # each server's library has its own errors
            return error
        return None

    wanted = [name for name in servers if stack.has(name)]
    with ThreadPoolExecutor() as pool:
        for name, error in zip(wanted, pool.map(failure, wanted), strict=True):
            if error is not None:
                raise unavailable(stack, name) from error


def unavailable(stack: Stack, server: str) -> LaunchError:
    found = stack.servers[server]
    if found.given:
        return LaunchError(f"{found.title} is unavailable: start it, or correct {found.variable}.")
    return LaunchError(
        f"{found.title} is unavailable: ./souk up starts it, and ./souk logs {server} shows why it stopped."
    )


def servers_of(*services: str) -> list[str]:
    """What their programs need to be ready; nothing for other programs."""
    stores = {SERVICES[service].store for service in services if service in SERVICES}
    return [*sorted(stores), "rabbitmq", "consul"] if stores else []


def named(stack: Stack, service: str) -> list[str]:
    """A program, or all of a service. Raises LaunchError."""
    known = sorted(file.stem for file in stack.state.programs.glob("*.conf"))
    found = [name for name in known if service == name or name.partition("-")[0] == service]
    if not found:
        raise LaunchError(f"Unknown program {service}. Choose from: {', '.join(known) or 'none yet; run ./souk up'}.")
    return found


def restart(stack: Stack, service: str) -> list[str]:
    """Instances are drained and restarted one by one; returns once all are ready."""
    ensure_up(stack)
    names = named(stack, service)
    expect(stack, *servers_of(*(name.partition("-")[0] for name in names)))
    webs = [name for name in names if "-web" in name]
    with stack.state.lock():
        rolled = {*webs, *map(sidecar_of, webs), *map(mesh.proxy_of, webs)}
        others = [name for name in names if name not in rolled]
        for name in others:
            stack.supervisor.restart(name)
        for web in webs:
            _roll(stack, web)
        for name in others:
            stack.wait_ready(name)
    return names


def _roll(stack: Stack, web: str) -> None:
    """Out of the catalogue until ready again."""
    known = stack.supervisor.statuses()
    sidecars = [name for name in [sidecar_of(web)] if name in known]
    serving = [name for name in (web, mesh.proxy_of(web)) if name in known]
    stack.supervisor.stop(sidecars)
    for names in (serving, sidecars):
        for name in names:
            stack.supervisor.restart(name)
        for name in names:
            stack.wait_ready(name)


def scale(stack: Stack, service: str, count: int) -> None:
    """Surplus instances are drained."""
    ensure_up(stack)
    if service not in SERVICES:
        raise LaunchError(f"Unknown service {service}. Choose from: {', '.join(SERVICES)}.")
    if not 1 <= count <= MAX_INSTANCES:
        raise LaunchError(f"{service} can have 1 to {MAX_INSTANCES} instances.")
    if not stack.has("consul"):
        raise LaunchError("Scaling needs Consul: install it, or set SOUK_CONSUL_URL.")
    expect(stack, *servers_of(service))
    with stack.state.lock():
        before = stack.services.instances(service)
        stack.supervisor.stop(map(sidecar_of, before[count:]))
        stack.installation.replicas = {**stack.installation.replicas, service: count}
        stack.rescale(service)


def renew(stack: Stack, service: str = "") -> tuple[Sequence[str], int]:
    """Make all lost queues anew. Returns their services, and how many messages are sent again.

    service: also send its messages again.
    """
    expect(stack, "rabbitmq", "postgres")
    if service and service not in SERVICES:
        raise LaunchError(f"Unknown service {service}. Choose from: {', '.join(SERVICES)}.")
    url = stack.url("rabbitmq")
    with stack.state.lock():
        services = sorted({*queues.lost(url), *filter(None, [service])})
        workers = [f"{name}-worker" for name in services]
        stack.supervisor.stop(workers)
        for name in services:
            queues.delete_lost(url, name)
        for worker in workers:
            stack.supervisor.start_program(worker)
        # Together: none is ready while it cannot send to another's queue.
        for worker in workers:
            stack.wait_ready(worker)
        types = sorted({type_ for name in services for type_ in queues.types(name)})
        senders = WITH_POSTGRES if types else ()
        resent = [stack.run_once(sender, "chassis.run.resend", f"services.{sender}", *types) for sender in senders]
    return services, sum(map(int, resent))


def addresses(stack: Stack) -> list[tuple[str, str]]:
    """Title and address."""
    ports, programs = stack.installation.ports, stack.supervisor.statuses()
    secrets = os.path.relpath(stack.state.path / "secrets.json")
    found = [
        ("Start page, shop, console", f"{stack.gateway_url} (staff: {STAFF_EMAIL}, password in {secrets})"),
        ("API", stack.gateway_url),
        ("API over TLS", f"https://localhost:{ports['gateway-tls']}"),
        ("API documentation", f"{stack.gateway_url}/docs"),
        ("Mails sent", stack.services.mailbox_url),
    ]
    if "rabbitmq" in programs:
        address = f"http://127.0.0.1:{ports['rabbitmq-management']}"
        found.append(("RabbitMQ", f"{address} (user souk, password in {secrets})"))
    for name in ("consul", "prometheus"):
        server = stack.servers.get(name)
        if server and (server.given or name in programs):
            found.append((server.title, server.url))
    if "victorialogs" in programs:
        found.append(("VictoriaLogs", f"{stack.url('victorialogs')}/select/vmui"))
    if "jaeger" in programs:
        found.append(("Traces (Jaeger's API)", f"{stack.url('jaeger')}/api/services"))
    if "alertmanager" in programs:
        found.append(("Alertmanager", f"http://127.0.0.1:{ports['alertmanager']}"))
    return found
