"""What operators run: `python -m services.orders.sharding FILE prepare|where|move|abort|finish`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from chassis.base import failpoints
from chassis.base.problems import Problem
from services.orders.sharding.move import DRAIN_SECONDS, LINGER_SECONDS, Mover, reason
from services.orders.sharding.shards import Shards


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.orders.sharding")
    parser.add_argument("shards", type=Path, help="a JSON file with the databases, as in shards.py")
    parser.add_argument("--drain-seconds", type=float, default=DRAIN_SECONDS)
    parser.add_argument("--linger-seconds", type=float, default=LINGER_SECONDS)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="make the tables and triggers that shards need")
    commands.add_parser("where", help="tell which shard has a user").add_argument("user", type=UUID)
    moving = commands.add_parser("move", help="move a user's orders to another shard")
    moving.add_argument("user", type=UUID)
    moving.add_argument("to")
    aborting = commands.add_parser("abort", help="bring a user back whose move was interrupted")
    aborting.add_argument("user", type=UUID)
    commands.add_parser("finish", help="go on with all moves that were interrupted")
    given = parser.parse_args(arguments)
    if directory := os.environ.get("SOUK_FAILPOINTS_DIRECTORY"):
        failpoints.arm(directory, "orders-sharding")
    try:
        shards = Shards.read(given.shards)
    except (OSError, ValueError) as error:
        sys.exit(f"{given.shards} cannot be used: {error}.")
    mover = Mover(shards, given.drain_seconds, given.linger_seconds)
    try:
        match given.command:
            case "prepare":
                shards.prepare()
            case "where":
                print(shards.of_user(given.user))
            case "move":
                mover.move(given.user, given.to)
                print(f"{given.user} is at {given.to}.")
            case "abort":
                mover.abort(given.user)
                print(f"{given.user} is at {shards.of_user(given.user)}.")
            case "finish":
                finish(shards, mover)
    except (Problem, SQLAlchemyError) as error:
        sys.exit(_sentence(error))
    finally:
        shards.close()


def finish(shards: Shards, mover: Mover) -> None:
    """All that can be. Exits with what cannot."""
    failures = []
    for user_id in mover.unfinished():
        try:
            mover.finish(user_id)
            print(f"{user_id} is at {shards.of_user(user_id)}.")
        except (Problem, SQLAlchemyError) as error:
            failures.append(_sentence(error))
    if failures:
        sys.exit("\n".join(failures))


def _sentence(error: Problem | SQLAlchemyError) -> str:
    if isinstance(error, Problem):
        return error.detail or error.title
    return f"{reason(error)} A move that was begun goes on with `finish`, or back with `abort`."


if __name__ == "__main__":
    main()
