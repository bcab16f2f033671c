"""Request and response bodies of the users API."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from uuid import UUID

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from chassis.base.problems import Invalid
from chassis.base.validation import Matches
from chassis.web.pagination import Page, PageView
from chassis.web.schemas import Body, View
from contracts.currencies import CurrencyCode
from services.users.fields import (
    Channel,
    CurrentPassword,
    EmailAddress,
    Name,
    NewPassword,
    Role,
    SearchPrefix,
    TimeZone,
    Username,
    by_email,
)
from services.users.models.preferences import Preferences
from services.users.models.user import User


class Profile(Body):
    """Omitted names are removed."""

    example: ClassVar[dict[str, Any]] = {
        "email": "leila@example.com",
        "username": "leila.h",
        "first_name": "Leila",
        "last_name": "Haddad",
    }

    email: EmailAddress
    username: Username
    first_name: Name | None = None
    last_name: Name | None = None


class NewUser(Profile):
    """The password has 10 to 200 characters, is hard to guess, and excludes e-mail address and username."""

    example: ClassVar[dict[str, Any]] = {**Profile.example, "password": "correct horse battery"}

    password: NewPassword

    @field_validator("password")
    @classmethod
    def contains_no_name(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        names = [info.data[field].lower() for field in ("email", "username") if field in info.data]
        if any(name in password.get_secret_value().lower() for name in names):
            raise PydanticCustomError("password", "must not contain the e-mail address or the username")
        return password

    @property
    def profile(self) -> dict[str, str | None]:
        return self.model_dump(exclude={"password"})


class Credentials(Body):
    example: ClassVar[dict[str, Any]] = {"email": "leila@example.com", "password": "correct horse battery"}

    email: EmailAddress
    password: CurrentPassword


class RefreshBody(Body):
    example: ClassVar[dict[str, Any]] = {"refresh_token": "the refresh_token of a login"}

    refresh_token: Annotated[SecretStr, Field(max_length=200)]


class PasswordChange(Body):
    """Passwords have 10 to 200 characters and are hard to guess."""

    example: ClassVar[dict[str, Any]] = {
        "current_password": "correct horse battery",
        "new_password": "another horse battery",
    }

    current_password: CurrentPassword
    new_password: NewPassword


class ForgottenPassword(Body):
    example: ClassVar[dict[str, Any]] = {"email": "leila@example.com"}

    email: EmailAddress


class PasswordReset(Body):
    """Passwords have 10 to 200 characters and are hard to guess."""

    example: ClassVar[dict[str, Any]] = {"token": "the token of the mail", "new_password": "another horse battery"}

    token: Annotated[str, Field(max_length=200)]
    new_password: NewPassword


class EmailVerification(Body):
    example: ClassVar[dict[str, Any]] = {"token": "the token of the mail"}

    token: Annotated[str, Field(max_length=200)]


class RolesBody(Body):
    example: ClassVar[dict[str, Any]] = {"roles": ["customer", "staff"]}

    roles: Annotated[list[Role], Field(min_length=1, max_length=3)]

    @field_validator("roles")
    @classmethod
    def in_fixed_order(cls, roles: list[Role]) -> list[Role]:
        return [role for role in get_args(Role) if role in roles]


class SearchQuery(Page):
    """Prefixes; `q` is any of the others. Case is ignored, and accents in names. `email` is staff only."""

    q: SearchPrefix | None = None
    name: SearchPrefix | None = None
    username: SearchPrefix | None = None
    email: SearchPrefix | None = None

    @model_validator(mode="after")
    def has_one_term(self) -> Self:
        given = [field for field in ("q", "name", "username", "email") if getattr(self, field) is not None]
        if not given:
            raise Invalid.fields(("q", "is required, or one of name, username and email"))
        if len(given) > 1:
            raise Invalid.fields((given[1], f"must not be combined with {given[0]}"))
        return self


class PreferencesBody(Body):
    example: ClassVar[dict[str, Any]] = {"locale": "en", "time_zone": "Europe/Vienna", "notify_by": ["email"]}

    locale: Annotated[
        str, Matches("[a-z]{2,3}(-[A-Z]{2})?", "must be a language such as de or de-AT"), Field(examples=["de-AT"])
    ] = "en"
    """Language, optionally with region (RFC 5646)."""
    currency: CurrencyCode = "EUR"
    time_zone: TimeZone = "UTC"
    marketing_consent: bool = False
    notify_by: list[Channel] = Field(default_factory=by_email, max_length=3)
    """Default channels of notifications."""
    is_public: bool = False
    """Whether other customers can find this account."""


class TokenView(View):
    """`expires_in`: seconds; `refresh_token`: single use."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type, not a token
    expires_in: int
    user_id: UUID


class UserView(View):
    """`pending_email` replaces `email` once the token mailed there is used."""

    id: UUID
    email: str
    pending_email: str | None
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


class UserSummary(View):
    """`email`, `roles`, `is_active`: staff only, else null."""

    id: UUID
    username: str
    first_name: str | None
    last_name: str | None
    email: str | None
    roles: list[str] | None
    is_active: bool | None

    @classmethod
    def of(cls, user: User, for_staff: bool) -> Self:
        return cls(
            id=user.id,
            username=user.username,
            first_name=user.first_name,
            last_name=user.last_name,
            email=user.email if for_staff else None,
            roles=user.roles if for_staff else None,
            is_active=user.is_active if for_staff else None,
        )


class UserSummaryPage(PageView):
    items: list[UserSummary]


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
        values = {name: getattr(preferences, name) for name in cls.model_fields if name != "is_public"}
        return cls(**values, is_public=is_public)


class RequestView(View):
    email: str
    token: str
    expires_at: datetime


class SecurityEventView(View):
    """`actor_id` acted on `user_id` from `address`; each may be null."""

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
