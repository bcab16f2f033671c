"""What the users API takes and gives."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from chassis.web.pagination import Page, PageView
from chassis.web.schemas import Body, View
from services.users.fields import (
    Channel,
    EmailAddress,
    Name,
    NewPassword,
    OldPassword,
    Role,
    Sought,
    TimeZone,
    Username,
    by_email,
)
from services.users.models.preferences import Preferences
from services.users.models.user import User


class Profile(Body):
    """All that an owner may change; what is left out is emptied."""

    email: EmailAddress
    username: Username
    first_name: Name | None = None
    last_name: Name | None = None


class NewUser(Profile):
    """The password: 10 to 200 characters that contain neither the e-mail address nor the username, and are hard to guess."""

    password: NewPassword

    @field_validator("password")
    @classmethod
    def is_no_name(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        names = [info.data[field].lower() for field in ("email", "username") if field in info.data]
        if any(name in password.get_secret_value().lower() for name in names):
            raise PydanticCustomError("password", "must not contain the e-mail address or the username")
        return password

    @property
    def profile(self) -> dict[str, str | None]:
        return self.model_dump(exclude={"password"})


class Credentials(Body):
    email: EmailAddress
    password: OldPassword


class RefreshBody(Body):
    refresh_token: Annotated[SecretStr, Field(max_length=200)]


class PasswordChange(Body):
    """The new password: 10 to 200 characters, hard to guess."""

    current_password: OldPassword
    new_password: NewPassword


class ForgottenPassword(Body):
    email: EmailAddress


class PasswordReset(Body):
    """The new password: 10 to 200 characters, hard to guess."""

    token: Annotated[str, Field(max_length=200)]
    new_password: NewPassword


class EmailProof(Body):
    token: Annotated[str, Field(max_length=200)]


class RolesBody(Body):
    """All the roles that the user shall have."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=3)]

    @field_validator("roles")
    @classmethod
    def in_one_order(cls, roles: list[Role]) -> list[Role]:
        return [role for role in get_args(Role) if role in roles]


class SearchQuery(Page):
    """Exactly one of `name`, `username` and `email`: the beginning of it, in any case; of names, also without accents."""

    name: Sought | None = None
    username: Sought | None = None
    email: Sought | None = None

    @model_validator(mode="after")
    def seeks_one_thing(self) -> Self:
        given = [field for field in ("name", "username", "email") if getattr(self, field) is not None]
        if len(given) != 1:
            raise PydanticCustomError("search", "name exactly one of: name, username, email")
        return self


class PreferencesBody(Body):
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$", examples=["de-AT"])] = "en"
    """A language, or a language and a region, as RFC 5646 writes them."""
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "EUR"
    """ISO 4217."""
    time_zone: TimeZone = "UTC"
    marketing_consent: bool = False
    """Whether mails may be sent that nobody asked for."""
    notify_by: list[Channel] = Field(default_factory=by_email, max_length=3)
    """Where messages go when their kind has no preference of its own."""
    is_public: bool = False
    """Whether other customers find this account by name and username."""


class TokenView(View):
    """`expires_in` is in seconds. `refresh_token` gives new tokens, once."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the kind of a token, not one
    expires_in: int
    user_id: UUID


class UserView(View):
    id: UUID
    email: str
    username: str
    first_name: str | None
    last_name: str | None
    roles: list[str]
    is_active: bool
    email_verified: bool
    created_at: datetime
    updated_at: datetime


class UserPage(PageView):
    items: list[UserView]


class FoundView(View):
    """What is found of an account; `email`, `roles` and `is_active` are for staff and else null."""

    id: UUID
    username: str
    first_name: str | None
    last_name: str | None
    email: str | None
    roles: list[str] | None
    is_active: bool | None

    @classmethod
    def of(cls, user: User, whole: bool) -> Self:
        return cls(
            id=user.id,
            username=user.username,
            first_name=user.first_name,
            last_name=user.last_name,
            email=user.email if whole else None,
            roles=user.roles if whole else None,
            is_active=user.is_active if whole else None,
        )


class FoundPage(PageView):
    items: list[FoundView]


class PreferencesView(View):
    locale: str
    currency: str
    time_zone: str
    marketing_consent: bool
    marketing_consent_at: datetime | None
    notify_by: list[str]
    is_public: bool

    @classmethod
    def of(cls, preferences: Preferences, is_public: bool) -> Self:
        kept = {name: getattr(preferences, name) for name in cls.model_fields if name != "is_public"}
        return cls(**kept, is_public=is_public)


class RequestView(View):
    email: str
    token: str
    expires_at: datetime


class SecurityEventView(View):
    """`actor_id` did it to `user_id`, coming from `address`; each is null where there is none."""

    id: UUID
    occurred_at: datetime
    kind: str
    user_id: UUID | None
    actor_id: UUID | None
    address: str | None
    details: dict[str, Any]


class SecurityEventPage(PageView):
    items: list[SecurityEventView]


class KeySetView(View):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]
