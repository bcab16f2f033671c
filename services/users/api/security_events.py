"""The audit trail."""

from uuid import UUID

from sqlalchemy import select

from chassis.security import auth
from chassis.web import pagination
from chassis.web.api import Resource, endpoint
from services.users.models.security_event import SecurityEvent
from services.users.models.user import User
from services.users.schemas import SecurityEventPage, SecurityEventView


class SecurityEvents(Resource):
    @endpoint(allow=auth.ADMIN, may_be_stale=True)
    def get(self, query: pagination.Page) -> SecurityEventPage:
        """Every security event, newest first."""
        return _page(query, None)


class UserSecurityEvents(Resource):
    @endpoint(allow=auth.OWNER, may_be_stale=True)
    def get(self, user_id: UUID, query: pagination.Page) -> SecurityEventPage:
        """One account's logins, failed logins and changes of password, address and roles, newest first."""
        return _page(query, User.visible_to(auth.caller(), user_id).id)


def _page(query: pagination.Page, user_id: UUID | None) -> SecurityEventPage:
    statement = select(SecurityEvent)
    if user_id is not None:
        statement = statement.where(SecurityEvent.user_id == user_id)
    events, cursor = pagination.newest_first(statement, SecurityEvent.occurred_at, SecurityEvent.id, query)
    return SecurityEventPage(items=[SecurityEventView.model_validate(event) for event in events], next=cursor)
