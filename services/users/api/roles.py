"""Roles."""

from uuid import UUID

from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.users.models.security_event import record
from services.users.models.session import Session
from services.users.models.user import User
from services.users.schemas import RolesBody, UserView


class Roles(Resource):
    @endpoint(allow=auth.ADMIN)
    def put(self, user_id: UUID, body: RolesBody) -> UserView:
        """Replace a user's roles. Old tokens are refused within seconds."""
        admins = User.lock_admins()
        user = User.changeable_by(auth.caller(), user_id)
        before = list(user.roles)
        if user.set_roles(body.roles, admins):
            Session.revoke_access(user.id)
            record("roles.changed", user.id, before=before, after=user.roles)
        return UserView.model_validate(user)
