"""Operators' commands: `python -m services.users.commands`, in the environment of the users service."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from chassis.base import validation
from chassis.storage import store
from services.users.app import service
from services.users.fields import EmailAddress
from services.users.models.security_event import record
from services.users.models.user import User


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.users.commands")
    commands = parser.add_subparsers(required=True)
    staff = commands.add_parser("staff", help="grant a role to an account")
    staff.add_argument("--email", required=True, type=_email, help="address of a registered account")
    staff.add_argument("--role", required=True, choices=["staff", "admin"])
    staff.set_defaults(run=lambda given: grant(given.email, given.role))
    found = commands.add_parser("find", help="print the id of an account, or nothing")
    found.add_argument("email", type=_email)
    found.set_defaults(run=lambda given: print(user.id if (user := User.by_email(given.email)) else ""))
    rotated = commands.add_parser("keys-rotated", help="record a key rotation in the audit trail")
    rotated.add_argument("key_id")
    rotated.set_defaults(run=lambda given: keys_rotated(given.key_id))
    given = parser.parse_args(arguments)
    if not service.settings.database_url:
        parser.error("SOUK_DATABASE_URL is not set: run this in the environment of the users service")
    with store.active(service.store), store.transaction():
        given.run(given)


def grant(email: str, role: str) -> None:
    user = User.by_email(email)
    if user is None:
        sys.exit(f"No account is registered as {email}.")
    is_new = user.grant(role)
    if is_new:
        record("roles.changed", user.id, granted=role, by="operator")
    print(f"{user.username} {'is now' if is_new else 'was already'} {role}; it takes effect at the next login.")


def keys_rotated(key_id: str) -> None:
    record("keys.rotated", None, key_id=key_id, by="operator")


def _email(text: str) -> str:
    try:
        return TypeAdapter[str](EmailAddress).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(validation.message(error.errors()[0])) from None


if __name__ == "__main__":
    main()
