"""Starts and stops everything on one machine, concurrently where possible.

Tests use one of their own:

    stack = Stack(temporary_folder, standard_ports=False)
    stack.up()
    try:
        ...  # stack.gateway_url, stack.backing
    finally:
        stack.down(wipe=True)
"""

import functools
import json
import subprocess
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from launcher import certificate, mesh, ports, probes, processes, queues, settings
from launcher.errors import LaunchError, from_os_error
from launcher.installation import Installation
from launcher.manifests import SERVICES, WITH_MONGO, WITH_POSTGRES, role_of
from launcher.program import Program
from launcher.progress import Progress
from launcher.servers import OBSERVERS, SERVERS, Consul, Mongo, Postgres, Prometheus, Server
from launcher.servers.postgres import BACKUP
from launcher.services import OURS, WITHOUT_METRICS, Backing, Services, ports_of, sidecar_of, with_proxies
from launcher.state import REPOSITORY
from launcher.together import Together

READY_SECONDS = 180.0
"""For our own programs, on a busy machine."""


class Stack:
    def __init__(
        self,
        path: Path | None = None,
        *,
        servers: Collection[str] = tuple(SERVERS),
        services: bool = True,
        standard_ports: bool = True,
        bound: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """servers: names in SERVERS. services: False for servers alone. bound: all end with this process."""
        self.installation = Installation.at(path, progress or Progress())
        self.state, self.supervisor = self.installation.state, self.installation.supervisor
        self.progress = self.installation.progress
        self.servers = {name: SERVERS[name](self.installation) for name in servers}
        if services and self.installation.is_observed:
            self.servers |= {name: observer(self.installation) for name, observer in OBSERVERS.items()}
        self._with_services, self._standard_ports, self._bound = services, standard_ports, bound
        self._without: Collection[str] = ()
        self._first: Callable[[], None] | None = None
        self._started: list[str] = []

    def up(self, without: Collection[str] = (), first: Callable[[], None] | None = None) -> list[str]:
        """Returns what it started. What fails is reported, and all else runs; an interruption stops what it started.

        without: programs. first: runs when the servers and databases are ready, before any program, and completes the data.
        """
        if first is None:
            self.state.expect_complete()
        self._without, self._first = without, first
        self._started = []
        self.installation.cancelled.clear()
        try:
            with self.state.lock(), self.progress.shown():
                self.installation.secrets.ensure()
                supervised = self.supervisor.is_running()
                try:
                    self._up()
                except (LaunchError, OSError):
                    if not self.supervisor.statuses():
                        self.supervisor.shut_down()
                    raise
                except BaseException:
                    self._undo(supervised)
                    raise
        except OSError as error:
            raise from_os_error(error, self.state.path) from error
        return sorted(self._started)

    def down(self, wipe: bool = False) -> None:
        """wipe: also delete everything."""
        try:
            with self.state.lock():
                self.supervisor.shut_down()
                if wipe:
                    self.state.wipe()
        except OSError as error:
            raise from_os_error(error, self.state.path) from error

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.installation.ports['gateway']}"

    @property
    def backing(self) -> Backing:
        postgres = self.servers["postgres"]
        mongo = self.servers["mongo"]
        assert isinstance(postgres, Postgres)
        assert isinstance(mongo, Mongo)
        return Backing(
            databases={name: postgres.database_url(name) for name in WITH_POSTGRES},
            mongo={name: mongo.database_url(name) for name in WITH_MONGO},
            redis=self.url("redis"),
            broker=self.url("rabbitmq") or self.url("redis").removesuffix("/0") + "/1",
            consul=self.url("consul"),
            prometheus=self.url("prometheus"),
            traces=self._observer("jaeger"),
            logs=self._observer("victorialogs"),
            credentials=self.credentials,
            data_folders=[str(self.state.data), *([] if postgres.given else [str(postgres.data.parent)])],
        )

    def _observer(self, name: str) -> str:
        """Its URL; empty if missing, or not started yet."""
        return self.url(name) if name in self.installation.ports else ""

    def credentials(self, program: str) -> Mapping[str, str]:
        """Settings for a program's own users on the servers; for "", the operator's."""
        found: dict[str, str] = {}
        # A copy: a server that is missing leaves meanwhile.
        for server in [*self.servers.values()]:
            found |= server.credentials(program)
        return found

    @property
    def services(self) -> Services:
        return Services(self.installation, self.backing)

    def url(self, server: str) -> str:
        """Empty if missing."""
        return self.servers[server].url if server in self.servers else ""

    def probe_of(self, program: str) -> Callable[[], None]:
        """A function that raises unless it is ready."""
        if program in self.servers:
            return functools.partial(self.servers[program].probe, self.url(program))
        if program.partition("-")[0] in OURS and not mesh.is_proxy(program):
            return functools.partial(probes.http, self.services.health_url(program), self.services.internal_ca)
        # A helper process is ready when it listens; a proxy listens once it has its certificate.
        return functools.partial(probes.tcp, "127.0.0.1", self.installation.ports[program])

    def wait_ready(self, program: str) -> None:
        seconds = self.servers[program].start_seconds if program in self.servers else READY_SECONDS
        self.supervisor.wait_until(program, self.probe_of(program), seconds, self.installation.cancelled)

    def rescale(self, service: str) -> list[str]:
        """Match `installation.replicas`; returns what it started."""
        self._started = []
        self._choose_ports()
        wanted = self.services.instances(service)
        names = {*wanted, *map(sidecar_of, wanted), *map(mesh.proxy_of, wanted)}
        together = Together(self.installation.cancelled)
        for program in self._programs():
            if program.name in names:
                self._run(program)
                together.start(self.wait_ready, program.name)
        together.finish()
        self._settle()
        return self._started

    def has(self, server: str) -> bool:
        """External or running."""
        return server in self.servers and (bool(self.servers[server].given) or server in self.supervisor.statuses())

    def migrate(self) -> None:
        together = Together(self.installation.cancelled)
        for service in WITH_POSTGRES:
            together.start(self.run_once, service, "chassis", "migrate", f"services.{service}")
        together.finish()

    def rotate_keys(self, algorithm: str, drop_old: bool = False) -> str:
        """Needs PostgreSQL, for the audit trail."""
        with self.state.lock():
            key_id = self.services.keys.rotate(algorithm, self._update_edge, drop_old)
            self.run_once("users", "services.users.commands", "keys-rotated", key_id)
            return key_id

    # --- inside

    def _update_edge(self) -> None:
        self._write_kong_file()
        status = self.supervisor.statuses().get("gateway")
        if status is None or status.state != "RUNNING":
            return
        configuration = json.dumps({"config": self.services.kong_file.read_text()}).encode()
        headers = {
            "Content-Type": "application/json",
            "Kong-Admin-Token": self.installation.secrets["gateway-admin"],
        }
        url = f"http://127.0.0.1:{self.installation.ports['gateway-admin']}/config"
        request = urllib.request.Request(url, configuration, headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=READY_SECONDS).close()
        except OSError as error:
            raise LaunchError(f"The gateway rejected its new configuration: {error}.") from error

    def _up(self) -> None:
        if self._with_services:
            settings.refuse_unknown(self.installation.environment)
            self._expect_mesh()
        self.state.ensure_room()
        self._choose_ports()
        self.supervisor.start(bound=self._bound, forks=self._with_services)
        together = Together(self.installation.cancelled)
        ready = self._start_servers(together)
        if self._with_services:
            self._start_services(together, ready)
        together.finish()
        self._settle()

    def _choose_ports(self) -> None:
        wanted = {name: port for server in self.servers.values() for name, port in server.ports.items()}
        if self._with_services:
            wanted |= ports_of(self.installation.replicas)
            if self.installation.is_meshed:
                wanted |= mesh.ports_of(with_proxies(self.installation.replicas))
        held = processes.listening_ports(self.state.token)
        self.installation.ports = ports.choose(self.state, wanted, held, self._standard_ports)

    def _start_servers(self, together: Together) -> dict[str, Future[None]]:
        """Debian's packages are installed one at a time, so RabbitMQ's, which then starts longest, comes first."""
        found: dict[str, Future[bool]] = {}
        for name, server in self.servers.items():
            rabbitmq = [found["rabbitmq"]] if name == "prometheus" and "rabbitmq" in found else []
            found[name] = together.start(self._find, server, settled=rabbitmq)
        return {name: together.start(self._serve, self.servers[name], is_found) for name, is_found in found.items()}

    def _find(self, server: Server) -> bool:
        return bool(server.given) or (server.name not in self._unwanted() and server.find())

    def _serve(self, server: Server, found: Future[bool]) -> None:
        if not found.result():
            if server.name == "consul" and self.installation.is_meshed:
                raise LaunchError("There is no Consul here, which a mesh needs: install it, or say --no-mesh.")
            self.progress.report(server.without)
            del self.servers[server.name]
        elif server.given:
            self._check_given(server)
        else:
            with self.progress.step(server.title):
                server.prepare()
                for program in server.programs():
                    self._run(program)
                    self.wait_ready(program.name)

    def _unwanted(self) -> set[str]:
        """From SOUK_WITHOUT=consul,prometheus."""
        unwanted = {name for name in self.installation.environment.get("SOUK_WITHOUT", "").split(",") if name}
        optional = {name for name, server in SERVERS.items() if server.without}
        if unwanted - optional:
            raise LaunchError(f"SOUK_WITHOUT may only name {', '.join(sorted(optional))}.")
        return unwanted

    def _expect_mesh(self) -> None:
        """Raises LaunchError if there can be none. Nobody should believe in mTLS that is not there."""
        consul = self.servers.get("consul")
        if self.installation.is_meshed and (not consul or consul.given or "consul" in self._unwanted()):
            raise LaunchError(
                "A mesh needs the Consul that ./souk up starts: unset SOUK_CONSUL_URL and SOUK_WITHOUT, or say --no-mesh."
            )

    def _check_given(self, server: Server) -> None:
        try:
            server.probe(server.given)
        except Exception as error:  # each server's library has its own errors
            reason = " ".join(str(error).split())[:200]
            raise LaunchError(f"{server.title} at {server.variable} is unavailable: {reason}") from error

    def _start_services(self, together: Together, ready: Mapping[str, Future[None]]) -> None:
        self.services.keys.ensure()
        certificate.ensure(self.state, self.installation.environment)
        if self.services.internal_ca:
            certificate.ensure_internal(self.state, [*SERVICES, "console"])
        schemas = together.start(self._make_databases, after=[ready["postgres"]])
        catalogue = together.start(self._seed, after=[ready["mongo"]])
        edge = together.start(self._write_kong_file)
        needed = [ready[name] for name in ready if name != "prometheus" and name not in OBSERVERS]
        ready_for_us = [schemas, edge]
        if self._first:
            ready_for_us.append(together.start(self._first, after=[schemas, catalogue, *needed]))
        together.start(self._run_services, needed, after=ready_for_us, settled=[*needed, catalogue])

    def _make_databases(self) -> None:
        postgres = self.servers["postgres"]
        assert isinstance(postgres, Postgres)
        with self.progress.step("Databases and their schemas"):
            postgres.ensure_databases(WITH_POSTGRES)
            self.migrate()

    def _seed(self) -> None:
        mongo = self.servers["mongo"]
        assert isinstance(mongo, Mongo)
        with self.progress.step("Catalogue"):
            if not mongo.given:
                mongo.ensure_users(WITH_MONGO)
            self.run_once("products", "services.products.commands", "seed")

    def _write_kong_file(self) -> None:
        self.state.write(
            self.services.kong_file.name, self.run_once("gateway", "services.gateway.config.render", "kong/kong.yml")
        )

    def _run_services(self, servers: Sequence[Future[None]]) -> None:
        """Without a server they serve what they can."""
        is_whole = not any(server.exception() for server in servers)
        lost = queues.lost(self.url("rabbitmq")) if is_whole else []
        programs = self._programs()
        with self.progress.step(f"Souk's {len(programs)} programs"):
            together, ready = Together(self.installation.cancelled), list[Future[None]]()
            # Behind its proxy a service that has not started yet is a broken one, to the edge's probes for some seconds.
            last = [program for program in programs if self.installation.is_meshed and program.name == "gateway"]
            for program in programs:
                if program in last:
                    continue
                self._run(program)
                # No worker is ready while it cannot send to a lost queue.
                if is_whole and not (lost and program.name.endswith("-worker")):
                    ready.append(together.start(self.wait_ready, program.name))
            for program in last:
                running = together.start(self._run, program, settled=ready)
                if is_whole:
                    together.start(self.wait_ready, program.name, after=[running])
            together.finish()
        if lost:
            raise LaunchError(
                f"RabbitMQ has lost queues of {', '.join(lost)}. ./souk renew makes them anew, with their messages."
            )

    def _programs(self) -> list[Program]:
        programs, consul = self.services.programs(), self.servers.get("consul")
        if self.installation.is_meshed and isinstance(consul, Consul):
            webs = with_proxies(self.installation.replicas)
            programs += mesh.programs(self.installation, consul, webs)
        return [program for program in programs if program.name not in self._without]

    def _run(self, program: Program) -> None:
        if self.supervisor.ensure(program):
            self._started.append(program.name)

    def run_once(self, service: str, *arguments: str) -> str:
        """Its output."""
        command, environment = self.services.one_shot(service, *arguments)
        outcome = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if outcome.returncode:
            output = (outcome.stdout + outcome.stderr).rstrip().splitlines()
            raise LaunchError(f"python -m {' '.join(arguments)} failed; its last lines:", output[-15:])
        return outcome.stdout

    def _settle(self) -> None:
        """Remove unwanted programs, update Prometheus."""
        programs = self._programs() if self._with_services else []
        programs += [program for server in self.servers.values() if not server.given for program in server.programs()]
        self.supervisor.keep_only(program.name for program in programs)
        prometheus = self.servers.get("prometheus")
        if self._with_services and isinstance(prometheus, Prometheus):
            ports = {program.name: self.installation.ports[program.name] for program in self.services.programs()}
            ports["gateway-admin"] = self.installation.ports["gateway-admin"]
            if any(program.name == BACKUP for program in programs):
                ports[BACKUP] = self.installation.ports[BACKUP]
            own = [name for name, server in self.servers.items() if not server.given]
            secure = [name for name in ports if self.services.internal_ca and role_of(name).endswith("-web")]
            prometheus.set_targets(
                {name: port for name, port in ports.items() if name not in WITHOUT_METRICS}, own, secure
            )

    def _undo(self, supervised: bool) -> None:
        if supervised:
            self.supervisor.stop(self._started)
        else:
            self.supervisor.shut_down()
