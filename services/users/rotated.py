"""Keep in the audit trail that the keys were rotated: `python -m services.users.rotated KEY_ID`, in the environment of users."""

import sys

from chassis.storage import store
from services.users.app import service
from services.users.models.security_event import record


def main(key_id: str) -> None:
    service.needs()
    with store.active(service.store), store.transaction():
        record("keys.rotated", None, key_id=key_id, by="operator")


if __name__ == "__main__":
    main(*sys.argv[1:])
