"""The user who pays."""

from uuid import UUID

from chassis.security import auth


def user_id() -> UUID:
    """Only on routes for users."""
    user_id = auth.caller().user_id
    assert user_id is not None
    return user_id
