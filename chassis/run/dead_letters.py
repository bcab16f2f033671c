"""Dead letters, for operators: list, show and replay messages, tasks and rows that were given up, and unrouted messages.

Prints one JSON object per line. A crash during replay may leave two copies; the inbox absorbs one. What is replayed is kept in the
service's trail, before and after; unrouted messages are no service's, and so in no trail.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from uuid import UUID

from chassis.base import failpoints
from chassis.base.problems import NotFound
from chassis.base.settings import Settings
from chassis.messaging import broker
from chassis.messaging.dead_letters import MAX_LETTERS, DeadLetterQueue, Letter, unrecorded
from chassis.run import terminal
from chassis.run.dead_rows import DeadRow
from chassis.run.service import Service
from chassis.storage import store

UNROUTED = "unrouted"


class Rows:
    """A service's abandoned rows."""

    def __init__(self, service: Service) -> None:
        self._service = service
        assert service.dead_rows is not None
        self._rows = service.dead_rows()

    def count(self) -> int:
        with store.active(self._service.store), store.transaction():
            return self._rows.count()

    def letters(self, limit: int = MAX_LETTERS) -> list[Letter]:
        """Oldest first, without details."""
        with store.active(self._service.store), store.transaction():
            return [_row_letter(row) for row in self._rows.rows(limit)]

    def find(self, letter_id: str) -> list[Letter]:
        """One or none."""
        try:
            row_id = UUID(letter_id)
        except ValueError:
            return []
        with store.active(self._service.store), store.transaction():
            row = self._rows.row(row_id)
        return [_row_letter(row)] if row is not None and str(row.id) == letter_id else []

    def replay(
        self, ids: Sequence[str] | None, dry_run: bool, before: Callable[[Sequence[Letter]], None] = unrecorded
    ) -> list[Letter]:
        """before: called with what is about to be sent."""
        details = {"to": f"{self._service.name}.celery", "replayed": not dry_run}
        wanted = None if ids is None else frozenset(ids)
        chosen = [letter for letter in self.letters() if wanted is None or letter.id in wanted]
        if not dry_run:
            before(chosen)
        return [replace(letter, details=details) for letter in chosen if dry_run or self._replay_one(letter)]

    def _replay_one(self, letter: Letter) -> bool:
        """False: no longer dead."""
        try:
            with store.active(self._service.store), store.transaction():
                self._rows.replay(UUID(letter.id))
        except NotFound:
            return False
        return True


def _row_letter(row: DeadRow) -> Letter:
    return Letter(str(row.id), "rows", row.type, row.since.isoformat(), row.error, row.details)


def sources(package: str) -> list[DeadLetterQueue | Rows]:
    """For "unrouted": messages no queue was bound for."""
    if package == UNROUTED:
        settings = Settings.current()
        settings.require("broker_url")
        return [DeadLetterQueue(settings.broker_url, broker.UNROUTED, None)]
    service = _service(package)
    service.require_settings("broker_url")
    return of(service)


def _service(package: str) -> Service:
    service: Service = importlib.import_module(f"{package}.app").service
    return service


def of(service: Service) -> list[DeadLetterQueue | Rows]:
    """Without a broker only rows."""
    url, name = service.settings.broker_url, broker.dead_letter_queue(service.name).name
    queues = [DeadLetterQueue(url, name, service.name)] if url else []
    return [*queues, *([Rows(service)] if service.dead_rows else [])]


def main(line: Sequence[str] | None = None) -> int:
    """Exit code 1 when an id was not found."""
    parser = argparse.ArgumentParser(prog="python -m chassis.run.dead_letters", description=__doc__.partition("\n")[0])
    parser.add_argument("package", help=f"the service's package, e.g. services.orders, or {UNROUTED}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list them, oldest first")
    rows = commands.add_parser("rows", help="count the abandoned rows, and list the oldest")
    rows.add_argument("limit", type=int)
    commands.add_parser("show", help="show one with its headers and body, secrets blanked").add_argument("id")
    replay = commands.add_parser("replay", help="send them back to be handled")
    replay.add_argument("ids", nargs="*")
    replay.add_argument("--all", action="store_true")
    replay.add_argument("--reason", default="", help="for the trail")
    replay.add_argument("--dry-run", action="store_true", help="only print what would be sent where")
    arguments = parser.parse_args(line)
    if arguments.command == "replay" and bool(arguments.ids) == arguments.all:
        parser.error("give ids or --all")
    if directory := Settings.current().failpoints_directory:
        failpoints.arm(directory, "dead")
    if arguments.command == "rows":
        _print_rows(arguments.package, arguments.limit)
        return 0
    if arguments.command == "replay" and arguments.package != UNROUTED and not arguments.dry_run:
        found = _replay(arguments.package, None if arguments.all else arguments.ids, arguments.reason)
    else:
        found = [letter for source in sources(arguments.package) for letter in _run(source, arguments)]
    for letter in found:
        print(json.dumps(asdict(letter)))
    wanted = len(arguments.ids) if arguments.command == "replay" else int(arguments.command == "show")
    return 0 if len(found) >= wanted else 1


def _print_rows(package: str, limit: int) -> None:
    for rows in sources(package):
        if isinstance(rows, Rows):
            print(json.dumps({"count": rows.count()}))
            for letter in rows.letters(limit):
                print(json.dumps(asdict(letter)))


def _replay(package: str, ids: Sequence[str] | None, reason: str) -> list[Letter]:
    begun: dict[str, UUID] = {}

    def begin(letters: Sequence[Letter]) -> None:
        with store.transaction():
            for letter_id in {letter.id for letter in letters}:
                begun[letter_id] = terminal.begin("replay dead letter", letter_id, reason)

    with store.active(_service(package).store):
        found = [letter for source in sources(package) for letter in source.replay(ids, dry_run=False, before=begin)]
        with store.transaction():
            for letter in found:
                terminal.end(begun[letter.id], f"{letter.type} sent to {letter.details['to']}")
    return found


def _run(source: DeadLetterQueue | Rows, arguments: argparse.Namespace) -> list[Letter]:
    if arguments.command == "replay":
        return source.replay(None if arguments.all else arguments.ids, arguments.dry_run)
    if arguments.command == "show":
        return source.find(arguments.id)
    return [replace(letter, details={}) for letter in source.letters()]


if __name__ == "__main__":
    sys.exit(main())
