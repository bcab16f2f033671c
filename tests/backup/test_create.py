"""What a backup has, and for whose eyes it is."""

import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bson
import psutil
import pymongo
import pytest

from launcher.backup import documents, vault, verify
from launcher.backup.create import SECRETS
from launcher.backup.target import VARIABLE, Target
from launcher.errors import LaunchError
from launcher.state import REPOSITORY
from tests.backup.conftest import Backed
from tests.installation import until


def test_the_first_has_everything_and_the_next_what_changed(backed: Backed) -> None:
    full, changes = backed.create(full=True), backed.create()
    assert (full.parent, changes.parent) == ("", full.name)
    assert changes.megabytes() < full.megabytes() / 2
    era = backed.target.eras()[-1]
    assert [each.name for each in era.chain(changes)] == [full.name, changes.name]
    for backup in (full, changes):
        assert verify.faults(backed.target, era, backup, backed.key) == []


def test_only_the_owner_reads_it(backed: Backed) -> None:
    backed.create()
    for path in [backed.target.path, *backed.target.path.rglob("*")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_secrets_are_sealed_and_open_with_the_key(backed: Backed) -> None:
    content = (backed.create().folder / SECRETS).read_bytes()
    assert backed.stack.installation.secrets["postgres"].encode() not in content
    assert vault.unseal(content, backed.key)["secrets.json"] == (backed.stack.state.path / "secrets.json").read_bytes()
    with pytest.raises(LaunchError, match="another key"):
        vault.unseal(content, vault.Fernet.generate_key().decode())


def test_no_secret_is_in_a_backup_in_the_clear(backed: Backed) -> None:
    values = [value.encode() for value in backed.stack.state.read_json("secrets.json").values()]
    for path in backed.create(full=True).folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [value for value in values if value in content], path


def test_documents_are_as_of_one_moment(backed: Backed, tmp_path: Path) -> None:
    with pymongo.MongoClient(backed.mongo.url) as client:
        # Read in this order, with time between the first and the last.
        client.moments.a.insert_one({"_id": 0, "count": 0})
        client.moments.m.insert_many([{"text": "x" * 1_000} for _ in range(5_000)])
        client.moments.z.insert_one({"_id": 0, "count": 0})
        with _counting(client):
            documents.dump(backed.mongo.url, "moments", tmp_path / "dump")
        after = client.moments.z.find_one({"_id": 0})["count"]
        assert documents.load(backed.mongo.url, "moments", tmp_path / "dump") == 5_002
        first, last = (client.moments[name].find_one({"_id": 0})["count"] for name in "az")
    assert first - last in (0, 1)
    assert after > last + 10, "nothing was counted meanwhile"


@contextmanager
def _counting(client: "pymongo.MongoClient[dict[str, object]]") -> Iterator[None]:
    """In `a`, then in `z`."""
    stopping = threading.Event()

    def count() -> None:
        while not stopping.is_set():
            for name in "az":
                client.moments[name].update_one({"_id": 0}, {"$inc": {"count": 1}})

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_loaded_documents_are_the_same_to_the_byte(backed: Backed, tmp_path: Path) -> None:
    with pymongo.MongoClient(backed.mongo.url, document_class=documents.RawBSONDocument) as client:
        rows = [{"_id": bson.ObjectId(), "list": [1, 2.5, None], "at": bson.Int64(1), "raw": b"\0\1"} for _ in range(3)]
        client.bytes.rows.insert_many(rows)
        before = [each.raw for each in client.bytes.rows.find().sort("_id")]
        documents.dump(backed.mongo.url, "bytes", tmp_path / "dump")
        client.bytes.rows.delete_many({})
        documents.load(backed.mongo.url, "bytes", tmp_path / "dump")
        assert [each.raw for each in client.bytes.rows.find().sort("_id")] == before


def test_an_interrupted_one_leaves_nothing_that_counts(backed: Backed) -> None:
    before = [each.name for each in backed.target.eras()[-1].backups()]
    key = backed.stack.state.path / vault.KEY_FILE
    content = key.read_text()
    key.write_text("no key")
    try:
        with pytest.raises(LaunchError, match="no key"):
            backed.create()
    finally:
        key.write_text(content)
    assert [each.name for each in backed.target.eras()[-1].backups()] == before


def test_a_killed_one_leaves_nobody_at_work_and_goes_with_the_next(backed: Backed) -> None:
    era = backed.target.eras()[-1]
    before = [each.name for each in era.backups()]
    places = {"SOUK_STATE_DIR": str(backed.stack.state.path), VARIABLE: str(backed.target.path)}
    command = [sys.executable, "-m", "launcher", "backup", "create", "--full"]
    with psutil.Popen(command, cwd=REPOSITORY, env={**os.environ, **places}) as killed:
        [copying] = until(lambda: children(killed.pid, "pg_basebackup"))
        killed.kill()
    until(lambda: not copying.is_running() or copying.status() == psutil.STATUS_ZOMBIE)
    assert len(era.unfinished()) == 1
    made = backed.create()
    assert [each.name for each in era.backups()] == [*before, made.name]
    assert era.unfinished() == []


def test_two_at_once_are_refused(backed: Backed) -> None:
    with backed.target.lock(), pytest.raises(LaunchError, match="Another"):
        backed.create()


def test_a_folder_that_is_not_marked_is_left_alone(tmp_path: Path) -> None:
    for folder in (tmp_path / "away", tmp_path):
        with pytest.raises(LaunchError, match="mount it"):
            Target(folder).expect_ready()
    assert not (tmp_path / "away").exists()
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(LaunchError, match="holds other files"):
        Target(tmp_path).make()


def test_a_proof_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    target = Target(tmp_path)
    target.note_proof(b'{"at": "2026-11-29T12:00:00+00:00"}')
    assert target.proven_at() > 0
    for proof in (b"", b"{}", b'{"at": "yesterday"}'):
        target.note_proof(proof)
        assert target.proven_at() == 0


def test_another_installation_gets_no_room_in_the_folder(backed: Backed) -> None:
    with pytest.raises(LaunchError, match="another installation"):
        backed.target.claim("1")


def children(parent: int, name: str) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["ppid", "name"]) if each.info == {"ppid": parent, "name": name}]
