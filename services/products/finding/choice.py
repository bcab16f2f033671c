"""Which finder serves this process: MongoDB's own search where the server has it, else the index in a file."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mongoengine
from structlog import get_logger

from services.products.finding.declare import has_text_search
from services.products.finding.finder import Finder
from services.products.settings import Settings

log = get_logger(__name__)

_chosen: dict[str, Finder] = {}
"""By the database's name."""


def finder() -> Finder:
    """The first call asks the server, and says in the log what was chosen."""
    database = mongoengine.get_db()
    if database.name not in _chosen:
        _chosen[database.name] = in_database() if has_text_search(database["products"]) else in_file()
        log.info("search chosen", by=_chosen[database.name].name)
    return _chosen[database.name]


def in_database() -> Finder:
    from services.products.finding.database import DatabaseFinder

    return DatabaseFinder()


def in_file() -> Finder:
    from services.products.finding.follow import Follower
    from services.products.finding.index import FORMAT, Index
    from services.products.finding.local import LocalFinder

    index = Index(_folder() / f"{_name_of_database()}-{FORMAT}.sqlite")
    return LocalFinder(index, Follower(index))


@contextmanager
def using(chosen: Finder) -> Iterator[None]:
    """The block is served by this finder, whatever the server can do."""
    name = mongoengine.get_db().name
    before = _chosen.get(name)
    _chosen[name] = chosen
    try:
        yield
    finally:
        _chosen.pop(name)
        if before is not None:
            _chosen[name] = before


def _folder() -> Path:
    return Path(Settings.current().search_directory or Path(tempfile.gettempdir()) / f"souk-search-{os.getuid()}")


def _name_of_database() -> str:
    """One file for each database: its name, and a digest of where it is."""
    database = mongoengine.get_db()
    address = f"{sorted(database.client.topology_description.server_descriptions())}/{database.name}"
    return f"{database.name}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
