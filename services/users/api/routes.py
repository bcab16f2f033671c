"""URLs of the users service."""

from services.users.api.accounts import Me, OneUser, Registration, Users
from services.users.api.email import OneRequest, Verification, Verify
from services.users.api.keys import KeySet
from services.users.api.login import Login
from services.users.api.passwords import Forgotten, OwnPassword, Reset
from services.users.api.preferences import UserPreferences
from services.users.api.roles import Roles
from services.users.api.search import Search
from services.users.api.security_events import SecurityEvents, UserSecurityEvents
from services.users.api.sessions import Logout, LogoutEverywhere, Refresh

ROUTES = {
    "/users/": Users,
    "/users/register": Registration,
    "/users/login": Login,
    "/users/token/refresh": Refresh,
    "/users/logout": Logout,
    "/users/logout/everywhere": LogoutEverywhere,
    "/users/password/forgot": Forgotten,
    "/users/password/reset": Reset,
    "/users/email/verify": Verify,
    "/users/email/verification": Verification,
    "/users/me": Me,
    "/users/me/password": OwnPassword,
    "/users/search": Search,
    "/users/security-events": SecurityEvents,
    "/users/<uuid:user_id>": OneUser,
    "/users/<uuid:user_id>/preferences": UserPreferences,
    "/users/<uuid:user_id>/roles": Roles,
    "/users/<uuid:user_id>/security-events": UserSecurityEvents,
    "/users/.well-known/jwks.json": KeySet,
    "/internal/requests/<uuid:request_id>": OneRequest,
}
