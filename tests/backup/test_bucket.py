"""Backups in a bucket: nothing counts that is not whole, and all of it leads back."""

import gzip
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3

from launcher.backup import moment, place, recovery, remote, restore, verify, wal
from launcher.backup.prune import prune
from launcher.backup.remote import BucketTarget
from launcher.backup.target import VARIABLE, Target
from launcher.errors import LaunchError
from launcher.servers import Postgres
from launcher.servers.postgres import BACKUP
from launcher.stack import Stack
from launcher.state import StateFolder
from tests import bucket as stand_in
from tests.backup.conftest import Backed
from tests.installation import until

BUCKET = "backups"
URL = f"s3://{BUCKET}/shop"


@pytest.fixture(scope="module")
def store() -> Iterator[stand_in.Store]:
    found = stand_in.Store()
    found.client.create_bucket(Bucket=BUCKET)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def backed(store: stand_in.Store, installation: Callable[..., Backed]) -> Iterator[Backed]:
    with pytest.MonkeyPatch.context() as patch:
        given = stand_in.use(store, patch)
        found = installation("bucket", **{VARIABLE: URL}, **given)
        found.ask("CREATE TABLE notes (text text)")
        yield found


@pytest.fixture
def elsewhere(backed: Backed, tmp_path: Path) -> Target:
    """As another machine sees the bucket."""
    found = place.at(URL, StateFolder(tmp_path / "elsewhere"), {})
    found.expect_ready()
    return found


def is_ready(backed: Backed) -> bool:
    port = backed.stack.installation.ports[BACKUP]
    return urllib3.request("GET", f"http://127.0.0.1:{port}/health/ready").status == 200


def names(target: Target) -> list[str]:
    target.expect_ready()
    return [backup.name for era in target.eras() for backup in era.backups()]


def has_arrived(backed: Backed, store: stand_in.Store) -> bool:
    """All that is committed, in the bucket."""
    position = wal.position_of(backed.ask("SELECT pg_current_wal_flush_lsn()"))
    segment = wal.name(1, wal.segment_of(position - 1))
    offset = (position - 1) % wal.SEGMENT
    for key in store.keys(BUCKET, "shop/eras/"):
        if key.rpartition("/")[2].startswith(segment):
            file = Path(backed.target.eras()[-1].log, f"{segment}{wal.PARTIAL}")
            begun = file.read_bytes()[: offset + 1] if file.exists() else None
            content = gzip.decompress(store.read(BUCKET, key))
            return begun is None or content.startswith(begun)
    return False


def test_another_machine_gets_back_what_was_committed(
    backed: Backed, store: stand_in.Store, elsewhere: Target, tmp_path: Path
) -> None:
    backed.ask("INSERT INTO notes VALUES ('full')")
    full = backed.create(full=True)
    backed.ask("INSERT INTO notes VALUES ('changes')")
    changes = backed.create()
    assert (full.parent, changes.parent) == ("", full.name)
    assert 0 < changes.archive_bytes < full.archive_bytes
    backed.write_log(2)
    backed.ask("INSERT INTO notes VALUES ('log')")
    until(lambda: has_arrived(backed, store))
    assert names(elsewhere)[-2:] == [full.name, changes.name]
    assert verify.examine(elsewhere, backed.key) == (2, [])
    scratch = Stack(tmp_path / "state", servers=["postgres", "mongo"], services=False, standard_ports=False, bound=True)
    scratch.installation.environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    scratch.state.make()
    try:
        found = moment.find(elsewhere, None)
        with elsewhere.at_hand(found.era, [found.backup]) as near:
            found = moment.find(near, None)
            restore.unpack_secrets(scratch, found, backed.key)
            postgres = scratch.servers["postgres"]
            assert isinstance(postgres, Postgres)
            recovery.recover(postgres, found)
        scratch.up()
        assert Backed(scratch, elsewhere).ask("SELECT string_agg(text, ' ') FROM notes") == "full changes log"
    finally:
        scratch.down(wipe=True)


def test_only_what_is_on_its_way_stays_beside_the_data(backed: Backed) -> None:
    backed.create()
    backed.write_log(2)
    era = backed.target.eras()[-1]
    until(lambda: [segment.is_partial for segment in wal.segments(era.log)] == [True])
    files = {path.name for path in backed.target.path.rglob("*") if path.is_file() and path.parent != era.log}
    assert files <= {"souk-backup.json", "backup.json", "backup_manifest"}


def test_the_server_goes_away_in_the_middle_of_a_backup(
    backed: Backed, store: stand_in.Store, elsewhere: Target
) -> None:
    before = names(elsewhere)

    def cut_off(method: str, path: str) -> int | None:
        return 503 if method == "PUT" and "partNumber" in path else None

    with store.failing(cut_off), pytest.raises(LaunchError, match="SlowDown"):
        backed.create(full=True)
    assert names(elsewhere) == before == names(backed.target)
    assert store.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    backed.create()
    assert len(names(elsewhere)) == len(before) + 1


def test_a_backup_without_its_description_is_none_and_is_removed(
    backed: Backed, store: stand_in.Store, elsewhere: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(elsewhere)

    def killed(method: str, path: str) -> int | None:
        # Behind the bucket's name, which is the same.
        is_refused = method == "DELETE" and "/backups/" in path.removeprefix(f"/{BUCKET}")
        return 403 if is_refused or (method == "PUT" and "/backup.json" in path) else None

    with store.failing(killed), pytest.raises(LaunchError, match="access denied"):
        backed.create()
    assert names(elsewhere) == before
    monkeypatch.setattr(remote, "ABANDONED_AFTER", timedelta())
    assert {key.split("/")[4] for key in store.keys(BUCKET, "shop/eras/") if "/backups/" in key} > {*before}
    backed.create()
    whole = {key.split("/")[4] for key in store.keys(BUCKET, "shop/eras/") if "/backups/" in key}
    assert whole == {*names(elsewhere)}


def test_orders_go_on_while_the_bucket_is_away_and_the_log_follows(backed: Backed, store: stand_in.Store) -> None:
    until(lambda: is_ready(backed))
    store.stop()
    try:
        for _ in range(2):
            backed.ask("SELECT pg_logical_emit_message(true, 'test', 'x'), pg_switch_wal()")
        until(lambda: not is_ready(backed))
        backed.ask("INSERT INTO notes VALUES ('away')")
        until(backed.is_received)
    finally:
        store.start()
    until(lambda: is_ready(backed) and has_arrived(backed, store))
    assert len(backed.target.eras()) == 1


def test_pruning_deletes_what_no_kept_backup_needs(backed: Backed, store: stand_in.Store, elsewhere: Target) -> None:
    backed.write_log()
    full = backed.create(full=True)
    backed.create()
    pruned = prune(backed.target, keep=1)
    assert pruned.backups > 0
    assert pruned.segments > 0
    assert names(elsewhere)[0] == full.name
    assert verify.examine(elsewhere, backed.key) == (2, [])
    log = sorted(key for key in store.keys(BUCKET, "shop/eras/") if "/log/" in key)
    assert log[0].rpartition("/")[2].startswith(wal.name(1, wal.segment_of(full.start)))


@pytest.mark.parametrize(
    ("ending", "how"), [("files.tar.gz", "changed"), ("files.tar.gz", "missing"), (".gz", "cut"), (".gz", "missing")]
)
def test_an_object_is_damaged(backed: Backed, store: stand_in.Store, elsewhere: Target, ending: str, how: str) -> None:
    last = moment.find(elsewhere, None)
    folder = f"backups/{last.backup.name}/" if ending == "files.tar.gz" else "log/"
    key = next(
        each for each in reversed(store.keys(BUCKET, f"shop/eras/{last.era.name}/{folder}")) if each.endswith(ending)
    )
    if folder == "log/":
        key = f"shop/eras/{last.era.name}/log/{wal.name(1, wal.segment_of(last.backup.start))}.gz"
    sound = store.read(BUCKET, key)
    middle = len(sound) // 2
    spoilt = {"changed": sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :], "cut": sound[:middle]}
    try:
        if how == "missing":
            store.client.delete_object(Bucket=BUCKET, Key=key)
        else:
            store.write(BUCKET, key, spoilt[how])
        _, faults = verify.examine(elsewhere, backed.key)
        assert faults
        assert last.backup.name in faults[-1]
    finally:
        store.write(BUCKET, key, sound)


def test_a_prefix_with_other_objects_is_left_alone(backed: Backed, store: stand_in.Store, tmp_path: Path) -> None:
    store.write(BUCKET, "photos/1.jpg", b"")
    found = place.at(f"s3://{BUCKET}/photos", StateFolder(tmp_path / "state"), {})
    with pytest.raises(LaunchError, match="holds other objects"):
        found.make()
    with pytest.raises(LaunchError, match="backup init"):
        found.expect_ready()


def test_a_proof_is_kept_in_the_bucket(backed: Backed, elsewhere: Target) -> None:
    assert elsewhere.proven_at() == 0
    backed.target.note_proof(b'{"at": "2026-11-29T12:00:00+00:00"}')
    elsewhere.expect_ready()
    assert elsewhere.proven_at() == backed.target.proven_at() > 0
    assert isinstance(backed.target, BucketTarget)
