"""Give an account a role: how an installation gets its first admin.

`python -m services.users.staff --email ada@example.com --role admin`, in the environment of the users service.
"""

import argparse
import sys
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from chassis.storage import store
from services.users.app import service
from services.users.fields import EmailAddress
from services.users.models.security_event import record
from services.users.models.user import User


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.users.staff", description=__doc__)
    parser.add_argument("--email", required=True, type=_email, help="of an account that is registered")
    parser.add_argument("--role", required=True, choices=["staff", "admin"])
    wanted = parser.parse_args(arguments)
    if not service.settings.database_url:
        parser.error("SOUK_DATABASE_URL is not set: run this in the environment of the users service")
    with store.active(service.store), store.transaction():
        user = User.by_email(wanted.email)
        if user is None:
            sys.exit(f"Nobody is registered as {wanted.email}.")
        is_new = user.grant(wanted.role)
        if is_new:
            record("roles.changed", user.id, granted=wanted.role, by="operator")
    print(f"{user.username} {'is now' if is_new else 'was already'} {wanted.role}; tokens of the next login say so.")


def _email(text: str) -> str:
    try:
        return TypeAdapter[str](EmailAddress).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"]) from None


if __name__ == "__main__":
    main()
