"""MongoDB: the machine's `mongod`, else the wheel SecantusDB."""

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pymongo
from pymongo.errors import AutoReconnect

from launcher import probes
from launcher.errors import LaunchError
from launcher.manifests import WITH_MONGO
from launcher.program import Program
from launcher.servers.server import Server

OPERATOR = "souk"


class Mongo(Server):
    name = "mongo"
    variable = "SOUK_MONGO_URL"
    title = "MongoDB"
    ports = {"mongo": 27017}  # noqa: RUF012 - a constant of the class

    supported = (7, 0)
    instead = "no longer supported; install MongoDB 7.0 or later, or set SOUK_MONGO_URL."

    def version(self) -> str:
        with pymongo.MongoClient[dict[str, object]](self.url, serverSelectionTimeoutMS=2_000) as client:
            return str(client.server_info()["version"])

    def outdated(self) -> str:
        if self.given or shutil.which("mongod"):
            return super().outdated()
        version = importlib.metadata.version("secantusdb")
        return f"SecantusDB {version}: a beta in MongoDB's place; install mongod 7.0 or later, or set SOUK_MONGO_URL."

    def prepare(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if (mongod := shutil.which("mongod")) and not self._made.exists():
            self._make_operator(mongod)
        self.state.write_json("mongo.json", {"users": self.users()})

    def programs(self) -> list[Program]:
        port, users = str(self.port("mongo")), self.state.path / "mongo.json"
        if mongod := shutil.which("mongod"):
            options: list[str | Path] = [
                "--bind_ip",
                "127.0.0.1",
                "--port",
                port,
                "--wiredTigerCacheSizeGB",
                "0.25",
                "--auth",
            ]
            return [Program("mongo", [mongod, "--dbpath", self._folder, *options], folder=self.state.data)]
        command: list[str | Path] = [sys.executable, "-m", "launcher.secantus", users, self._folder, port]
        return [Program("mongo", command, reads=[users])]

    def own_url(self) -> str:
        return f"mongodb://{OPERATOR}:{self.secret('mongo')}@{self.address('mongo')}/?authSource=admin"

    def probe(self, url: str) -> None:
        probes.mongo(url)

    def database_url(self, name: str) -> str:
        """For a user who has this database alone."""
        if self.given:
            return database_url(self.given, name)
        return f"mongodb://{name}:{self.secret(f'{name}-database')}@{self.address('mongo')}/{name}"

    def ensure_users(self, names: Sequence[str]) -> None:
        with pymongo.MongoClient[dict[str, object]](self.url, serverSelectionTimeoutMS=10_000) as client:
            for name in names:
                known = client[name].command("usersInfo", name)["users"]
                client[name].command(
                    "updateUser" if known else "createUser",
                    name,
                    pwd=self.secret(f"{name}-database"),
                    roles=[{"role": "readWrite", "db": name}],
                )

    def users(self) -> list[dict[str, str]]:
        """For SecantusDB: the operator, then each service's, on its own database."""
        operator = {"name": OPERATOR, "password": self.secret("mongo"), "database": "admin", "role": "root"}
        return [
            operator,
            *(
                {"name": name, "password": self.secret(f"{name}-database"), "database": name, "role": "readWrite"}
                for name in WITH_MONGO
            ),
        ]

    # --- inside

    @property
    def _folder(self) -> Path:
        return self.state.data / "mongo"

    @property
    def _made(self) -> Path:
        return self.state.data / "mongo.made"

    def _make_operator(self, mongod: str) -> None:
        """While mongod has no user it is reached by a socket in our folder only."""
        socket = self._folder / "mongod.sock"
        command: list[str | Path] = [mongod, "--dbpath", self._folder, "--bind_ip", socket]
        server = subprocess.Popen(
            [*command, "--port", str(self.port("mongo"))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with pymongo.MongoClient[dict[str, object]](
                f"mongodb://{quote(str(socket), safe='')}", serverSelectionTimeoutMS=20_000
            ) as client:
                client.admin.command("createUser", OPERATOR, pwd=self.secret("mongo"), roles=["root"])
                with suppress(AutoReconnect):
                    client.admin.command("shutdown")
            server.wait(20)
        except Exception as error:
            server.kill()
            raise LaunchError(f"MongoDB could not be given its password: {error}") from error
        self.state.write("data/mongo.made", "")


def database_url(server: str, name: str) -> str:
    """A server's URL, with its user and options, for one of its databases."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
