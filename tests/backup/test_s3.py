"""Objects in a bucket: whole or not there, and errors that say what to do."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from launcher.backup import s3
from launcher.backup.s3 import PART_BYTES, Bucket
from launcher.errors import LaunchError
from tests import bucket as stand_in

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def store() -> Iterator[stand_in.Store]:
    found = stand_in.Store()
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def bucket(store: stand_in.Store, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    stand_in.use(store, monkeypatch)
    store.client.create_bucket(Bucket="backups")
    return Bucket("s3://backups/shop")


def uploads(store: stand_in.Store) -> list[Any]:
    return store.client.list_multipart_uploads(Bucket="backups").get("Uploads", [])  # type: ignore[no-any-return]


def write(bucket: Bucket, key: str, megabytes: int) -> s3.Upload:
    with bucket.writing(key) as upload:
        for number in range(megabytes):
            upload.write(bytes([number % 251]) * MEGABYTE)
    return upload


def read(bucket: Bucket, key: str) -> s3.Download:
    with bucket.reading(key) as download:
        while download.read(MEGABYTE):
            pass
    return download


def test_what_was_written_is_read_and_keys_are_below_the_prefix(bucket: Bucket, store: stand_in.Store) -> None:
    bucket.put("a/b", b"small")
    assert bucket.get("a/b") == b"small"
    assert bucket.get("a/c") is None
    assert store.read("backups", "shop/a/b") == b"small"
    store.write("backups", "shopping", b"another's")
    assert [(each.key, each.size) for each in bucket.listed()] == [("a/b", 5)]
    bucket.delete("a/b")
    assert bucket.get("a/b") is None


GROWTH = """
import resource, sys
from launcher.backup.s3 import PART_BYTES, Bucket
bucket, part = Bucket("s3://backups/shop"), bytes(PART_BYTES)
bucket.put("first", b"")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with bucket.writing("large") as upload:
    for _ in range(8):
        upload.write(part)
    upload.write(b"the end")
with bucket.reading("large") as download:
    while download.read(1024 * 1024):
        pass
assert download.digest == upload.digest
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 // PART_BYTES)
"""


def test_an_object_of_many_parts_takes_the_memory_of_a_few(bucket: Bucket) -> None:
    outcome = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) < 5


def test_an_object_is_not_there_until_it_is_whole(bucket: Bucket, store: stand_in.Store) -> None:
    def fail() -> None:
        with bucket.writing("half") as upload:
            upload.write(b"x" * (PART_BYTES + 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert bucket.get("half") is None
    assert uploads(store) == []


def test_a_server_that_is_busy_is_asked_again(bucket: Bucket, store: stand_in.Store) -> None:
    refusals = iter([503, 503])
    with store.failing(lambda method, path: next(refusals, None) if method == "PUT" else None):
        write(bucket, "busy", 1)
    assert read(bucket, "busy").digest


def test_a_connection_that_breaks_is_taken_up_where_it_broke(bucket: Bucket, store: stand_in.Store) -> None:
    upload = write(bucket, "cut", 8)
    cuts = iter([stand_in.CUT, stand_in.CUT])
    with store.failing(lambda method, path: next(cuts, None) if method == "GET" else None):
        assert read(bucket, "cut").digest == upload.digest


def test_what_killed_programs_have_left_is_removed(bucket: Bucket, store: stand_in.Store) -> None:
    for name in ("left", "at work"):
        store.client.create_multipart_upload(Bucket="backups", Key=f"shop/{name}")
    bucket.abort_uploads(lambda key, at: key == "left")
    assert [each["Key"] for each in uploads(store)] == ["shop/at work"]
    bucket.abort_uploads(lambda key, at: True)
    assert uploads(store) == []


def test_the_bucket_is_missing(bucket: Bucket) -> None:
    for call in (lambda: Bucket("s3://nobodys").get("x"), lambda: write(Bucket("s3://nobodys"), "x", 1)):
        with pytest.raises(LaunchError, match="there is no bucket nobodys"):
            call()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_access_is_denied(bucket: Bucket, store: stand_in.Store, method: str) -> None:
    call = (lambda: bucket.put("x", b"")) if method == "PUT" else (lambda: bucket.get("x"))
    with (
        store.failing(lambda called, path: 403 if called == method else None),
        pytest.raises(LaunchError, match=r"access denied .* s3:ListBucket"),
    ):
        call()


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(LaunchError, match="no credentials"):
        Bucket("s3://backups").get("x")


def test_the_server_is_away(store: stand_in.Store, bucket: Bucket) -> None:
    store.stop()
    try:
        with pytest.raises(LaunchError, match="does not respond: start it"):
            bucket.get("x")
    finally:
        store.start()


def test_nothing_crosses_the_network_in_the_clear_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    with pytest.raises(LaunchError, match=r"to minio.example in the clear.*SOUK_BACKUP_ALLOW_HTTP=1"):
        Bucket("s3://backups")
    Bucket("s3://backups", allow_http=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example")
    Bucket("s3://backups")


def test_no_bucket_in_the_address() -> None:
    with pytest.raises(LaunchError, match="names no bucket"):
        Bucket("s3:///prefix")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(LaunchError, match=r"need boto3, which is missing: delete .venv"):
        Bucket("s3://backups")
