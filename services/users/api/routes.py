"""Every URL of the users service."""

from services.users.api.accounts import Me, OneUser, Registration, Users
from services.users.api.login import Login

ROUTES = {
    "/users/": Users,
    "/users/register": Registration,
    "/users/login": Login,
    "/users/me": Me,
    "/users/<uuid:user_id>": OneUser,
}
