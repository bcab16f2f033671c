"""MongoDB's documents, through its protocol, as of one moment: a gzip file of BSON for each collection."""

import gzip
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import bson
import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from launcher.backup.pause import paused
from launcher.backup.target import sync_folder

ENDING = ".bson.gz"
BATCH = 500
TIMEOUT_MILLISECONDS = 10_000

_NO_TRANSACTIONS = 20
"""MongoDB's code for a server that is no member of a replica set."""

OPTIONS = CodecOptions(document_class=RawBSONDocument)
"""Documents as they came, byte by byte."""

Client = pymongo.MongoClient[Any]


def dump(url: str, name: str, folder: Path) -> None:
    """Of the database `name`. As of one moment: a reservation without its hold would look like a lost unit."""
    folder.mkdir(mode=0o700, parents=True)
    with _client(url) as client, _moment(client, url) as session:
        database = client[name]
        names = [each for each in database.list_collection_names() if not each.startswith("system.")]
        for collection in sorted(names):
            with (folder / f"{collection}{ENDING}").open("wb") as packed:
                with gzip.open(packed, "wb", compresslevel=1) as file:
                    for document in database[collection].find({}, session=session, batch_size=BATCH):
                        file.write(document.raw)
                packed.flush()
                os.fsync(packed.fileno())
    sync_folder(folder)


def load(url: str, name: str, folder: Path) -> int:
    """Replaces the collections that are in the folder. Returns the number of documents. Raises InvalidBSON."""
    count = 0
    with _client(url) as client:
        for path in sorted(folder.glob(f"*{ENDING}")):
            collection = client[name][path.name.removesuffix(ENDING)]
            collection.drop()
            for batch in _batches(path):
                collection.insert_many(batch, ordered=False)
                count += len(batch)
    return count


def _batches(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    with gzip.open(path, "rb") as file:
        for document in bson.decode_file_iter(cast(IO[bytes], file), OPTIONS):
            batch.append(document)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _client(url: str) -> Client:
    return pymongo.MongoClient(url, document_class=RawBSONDocument, serverSelectionTimeoutMS=TIMEOUT_MILLISECONDS)


@contextmanager
def _moment(client: Client, url: str) -> Iterator[ClientSession | None]:
    """What is read in the session is as of one moment."""
    if "setName" in client.admin.command("hello"):
        with client.start_session(snapshot=True) as session:
            yield session
    elif _has_transactions(client):
        with client.start_session() as session, session.start_transaction():
            yield session
    else:
        # A server alone: its writers wait.
        with paused(url):
            yield None


def _has_transactions(client: Client) -> bool:
    with client.start_session() as session, session.start_transaction():
        try:
            client.admin.command("find", "system.version", limit=1, session=session)
        except OperationFailure as error:
            if error.code == _NO_TRANSACTIONS:
                return False
            raise
    return True
