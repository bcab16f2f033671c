"""Puts everything back as it was at one moment, and opens only when all services agree."""

import json
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from launcher.backup import agreement, documents, recovery, vault, verify
from launcher.backup.agreement import Agreement
from launcher.backup.create import BANK, SECRETS, copy_bank, create, current_era
from launcher.backup.moment import Moment, find
from launcher.backup.target import Target, stamp
from launcher.errors import LaunchError
from launcher.manifests import WITH_MONGO
from launcher.servers import Mongo, Postgres
from launcher.stack import Stack

OUTSIDE = ("bank", "mails")
"""In place of parties whom no restore takes back."""

GATEWAY = "gateway"
ERA_SECONDS = 60
POLL_SECONDS = 0.5


@dataclass
class Restored:
    moment: Moment
    last_commit: datetime | None = None
    sent_again: int = 0
    agreement: Agreement = field(default_factory=Agreement)
    seconds: dict[str, float] = field(default_factory=dict)
    """By step."""

    @property
    def is_right(self) -> bool:
        return not self.agreement.for_a_person

    @contextmanager
    def step(self, stack: Stack, title: str) -> Iterator[None]:
        began = time.monotonic()
        with stack.progress.step(title):
            yield
        self.seconds[title] = time.monotonic() - began


def restore(stack: Stack, target: Target, moment: Moment) -> Restored:
    """In place. What was there is kept beside it."""
    if stack.supervisor.is_running():
        raise LaunchError("Souk is running: stop it first with ./souk down.")
    expect_own_servers(stack)
    stack.state.make()
    key = vault.key(stack.state, stack.installation.environment)
    ended = {era.name for era in target.eras()}
    with target.lock(), target.at_hand(moment.era, [moment.backup]) as near:
        moment = find(near, moment.at)
        _expect_sound(near, moment, key)
        with stack.state.lock():
            unpack_secrets(stack, moment, key)
            vault.make_key(stack.state, {vault.KEY_VARIABLE: key})
        # Killed anywhere here, its programs may go on; ./souk up would open a shop without the stock's moves.
        with stack.state.incomplete():
            with stack.state.lock():
                set_aside(stack)
            restored = rebuild(stack, moment)
    with restored.step(stack, "A full backup"):
        _begin_anew(stack, target, ended)
    with restored.step(stack, "The gateway opens"):
        stack.up()
    return restored


def expect_own_servers(stack: Stack) -> None:
    """Raises LaunchError for an external one: nothing of it is put back, and it may hold messages of what never was."""
    if given := [server.variable for server in stack.servers.values() if server.given and server.name != "prometheus"]:
        raise LaunchError(f"Only servers that ./souk up starts are restored. Unset {', '.join(given)}.")


def unpack_secrets(stack: Stack, moment: Moment, key: str) -> None:
    """Those that are missing: what is here may be newer. Raises LaunchError if they are another installation's."""
    files = vault.unseal((moment.backup.folder / SECRETS).read_bytes(), key)
    ours = stack.state.path / "secrets.json"
    if ours.exists() and _password(ours.read_bytes()) != _password(files["secrets.json"]):
        raise LaunchError(f"{stack.state.path} has the secrets of another installation: choose another SOUK_STATE_DIR.")
    for name, content in files.items():
        if not (stack.state.path / name).exists():
            stack.state.write(name, content.decode())


def set_aside(stack: Stack) -> None:
    """Data of all servers."""
    postgres = _postgres(stack)
    aside = f"before-{stamp(datetime.now(UTC))}"
    if postgres.data.exists() and not postgres.data.is_relative_to(stack.state.data):
        postgres.data.rename(postgres.data.with_name(f"postgres-{aside}"))
    kept = stack.state.path / aside
    kept.mkdir(mode=0o700)
    for path in [*stack.state.data.iterdir()]:
        if path.name not in OUTSIDE:
            path.rename(kept / path.name)


def rebuild(stack: Stack, moment: Moment, books: Path | None = None) -> Restored:
    """All but the gateway: who ordered now would find the stock of the backup. books: the sandbox's of now."""
    restored = Restored(moment)
    with restored.step(stack, "PostgreSQL's backups and log"):
        restored.last_commit = recovery.recover(_postgres(stack), moment)
    if not (stack.state.data / BANK).exists():
        # After the log has ended: a provider knows more than we do, never less.
        copy_bank(
            books or moment.backup.folder / BANK, stack.state.data / BANK, restored.last_commit if books else None
        )

    def load() -> None:
        mongo = stack.servers["mongo"]
        assert isinstance(mongo, Mongo)
        for name in WITH_MONGO:
            documents.load(mongo.url, name, moment.backup.folder / "mongo" / name)
        until = restored.last_commit or moment.backup.ended_at
        restored.sent_again = agreement.send_again(stack, moment.backup.began_at, until)

    with restored.step(stack, "Servers, documents and programs"):
        stack.up(without=[GATEWAY], first=load)
    with restored.step(stack, "Agreement"):
        restored.agreement = agreement.reach(stack)
    return restored


# --- inside


def _postgres(stack: Stack) -> Postgres:
    postgres = stack.servers["postgres"]
    assert isinstance(postgres, Postgres)
    return postgres


def _password(secrets: bytes) -> object:
    return json.loads(secrets).get("postgres")


def _expect_sound(target: Target, moment: Moment, key: str) -> None:
    if faults := verify.faults(target, moment.era, moment.backup, key):
        raise LaunchError(f"The backup {moment.backup.name} cannot be used:", faults)


def _begin_anew(stack: Stack, target: Target, ended: Collection[str]) -> None:
    """With a full backup, before anything happens that no backup leads to. ended: eras before the restore."""
    deadline, waiting = time.monotonic() + ERA_SECONDS, threading.Event()
    while not _has_begun(stack, target, ended):
        if time.monotonic() > deadline:
            raise LaunchError(f"{target} does not receive the restored PostgreSQL's log; the gateway stays closed.")
        waiting.wait(POLL_SECONDS)
    create(stack, target, full=True)


def _has_begun(stack: Stack, target: Target, ended: Collection[str]) -> bool:
    try:
        return current_era(_postgres(stack), target).name not in ended
    except LaunchError:
        return False
