"""Events of the users service."""

from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message


@dataclass(frozen=True)
class UserRegistered(Message, type="user.registered"):
    user_id: UUID
    email: str
    username: str
    first_name: str
    last_name: str


@dataclass(frozen=True)
class RegistrationRepeated(Message, type="user.registration_repeated"):
    """Someone tried to register this account's address."""

    user_id: UUID


@dataclass(frozen=True)
class UserUpdated(Message, type="user.updated"):
    user_id: UUID
    email: str
    username: str
    first_name: str
    last_name: str


@dataclass(frozen=True)
class UserDeleted(Message, type="user.deleted"):
    user_id: UUID


@dataclass(frozen=True)
class EmailVerificationRequested(Message, type="user.email_verification_requested"):
    """Notifications fetches the token by the request's id."""

    user_id: UUID
    request_id: UUID


@dataclass(frozen=True)
class EmailVerified(Message, type="user.email_verified"):
    user_id: UUID
    email: str


@dataclass(frozen=True)
class PasswordResetRequested(Message, type="user.password_reset_requested"):
    user_id: UUID
    request_id: UUID


@dataclass(frozen=True)
class PasswordChanged(Message, type="user.password_changed"):
    user_id: UUID


@dataclass(frozen=True)
class UserPreferencesUpdated(Message, type="user.preferences_updated"):
    user_id: UUID
    locale: str
    time_zone: str
    currency: str
    marketing_consent: bool
