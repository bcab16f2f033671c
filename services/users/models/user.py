"""An account: opened by its owner, changed by its owner or by those above, closed without a trace of the person."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ARRAY, Index, String, Text, collate, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base.problems import Conflict, Forbidden, NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres
from services.users.models import Base
from services.users.names import searchable

UNIQUE_FIELDS = {"users_email_key": "email", "users_username_key": "username"}
"""The field behind each unique index."""


class AlreadyTaken(Conflict):
    type, title = "/problems/already-taken", "Another account has this"


class LastAdmin(Conflict):
    type, title = "/problems/last-admin", "There would be no admin left"


class AccountClosed(Conflict):
    type, title = "/problems/account-closed", "The account is closed"


class User(Base):
    """`email` is kept in lower case: no provider tells addresses apart by case, but people type them in either.

    `username` is kept as its owner writes it and is unique in any case. A closed account has no name and no password.
    """

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    email: Mapped[str] = mapped_column(String(255), unique=True)
    username: Mapped[str] = mapped_column(String(100))
    hashed_password: Mapped[str | None] = mapped_column(String(255))
    first_name: Mapped[str | None] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    roles: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    is_active: Mapped[bool]
    email_verified_at: Mapped[datetime | None]
    is_public: Mapped[bool]
    """Whether other customers find this account, by name and username."""
    first_last: Mapped[str] = mapped_column(Text)
    last_first: Mapped[str] = mapped_column(Text)
    """The names as a search compares them."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        Index("users_username_key", func.lower(username), unique=True),
        Index("users_newest", "created_at", "id"),
        Index("users_admins", "id", postgresql_where=text("'admin' = ANY (roles)")),
        Index("users_by_email", collate(email, "C"), "id"),
        Index("users_by_username", collate(func.lower(username), "C"), "id"),
        Index("users_by_first_name", collate(first_last, "C"), "id"),
        Index("users_by_last_name", collate(last_first, "C"), "id"),
        Index("users_public_by_username", collate(func.lower(username), "C"), "id", postgresql_where=text("is_public")),
        Index("users_public_by_first_name", collate(first_last, "C"), "id", postgresql_where=text("is_public")),
        Index("users_public_by_last_name", collate(last_first, "C"), "id", postgresql_where=text("is_public")),
    )

    @classmethod
    def register(cls, profile: dict[str, str | None], hashed_password: str) -> Self:
        """A new customer. `profile` has email, username, first_name, last_name. Raises AlreadyTaken."""
        now = postgres.now()
        user = cls(
            **profile,
            hashed_password=hashed_password,
            roles=["customer"],
            is_active=True,
            is_public=False,
            created_at=now,
            updated_at=now,
        )
        user._name()
        with _unique():
            postgres.session().add(user)
        return user

    @classmethod
    def by_email(cls, email: str) -> Self | None:
        return postgres.session().scalar(select(cls).where(cls.email == email))

    @classmethod
    def get_for_update(cls, user_id: UUID | None) -> Self:
        return postgres.session().get_one(cls, user_id, with_for_update=True)

    @classmethod
    def admins(cls) -> Sequence[UUID]:
        """All of them, locked in one order."""
        who = select(cls.id).where(text("'admin' = ANY (roles)")).order_by(cls.id).with_for_update()
        return postgres.session().scalars(who).all()

    @classmethod
    def visible_to(cls, caller: Caller, user_id: UUID, *, even_closed: bool = False, lock: bool = False) -> Self:
        """The account, for its owner and for staff; closed, for staff only unless `even_closed`. Raises NotFound."""
        user = postgres.session().get(cls, user_id, with_for_update=lock) if caller.owns(user_id) else None
        if user is None or not (user.is_active or even_closed or caller.is_staff):
            raise NotFound(f"There is no user {user_id}.")
        return user

    @classmethod
    def changeable_by(cls, caller: Caller, user_id: UUID, *, even_closed: bool = False) -> Self:
        """The account, locked: one's own, a customer's for staff, anyone's for admins. Raises NotFound or Forbidden."""
        user = cls.visible_to(caller, user_id, even_closed=even_closed, lock=True)
        # Who may write an account's e-mail address may become its owner: staff would make themselves admins.
        if user.roles != ["customer"] and user_id != caller.user_id and "admin" not in caller.roles:
            raise Forbidden("Only admins change the accounts of staff.")
        return user

    def describe(self, profile: dict[str, str | None]) -> bool:
        """Take over `profile`, as in `register`; whether that changed anything. Raises AccountClosed or AlreadyTaken."""
        if not self.is_active:
            raise AccountClosed("Nothing of it can be changed any more.")
        changes: dict[str, Any] = {field: value for field, value in profile.items() if getattr(self, field) != value}
        if "email" in changes:
            changes["email_verified_at"] = None
        if changes:
            with _unique():
                self._set(**changes)
        return bool(changes)

    def close(self) -> bool:
        """Let nobody in any more and forget the person; whether the account was open. Its id stays, orders need it."""
        if not self.is_active:
            return False
        self._set(
            # Names that no registration accepts, so that nobody can take them beforehand.
            email=f"{self.id}@deleted.invalid",
            username=f"deleted:{self.id}",
            hashed_password=None,
            first_name=None,
            last_name=None,
            roles=["customer"],
            is_active=False,
            email_verified_at=None,
            is_public=False,
        )
        return True

    @property
    def names(self) -> list[str]:
        """What whoever guesses this user's password tries first."""
        known = (self.email, self.email.partition("@")[0], self.username, self.first_name, self.last_name)
        return [name for name in known if name]

    @property
    def email_verified(self) -> bool:
        return self.email_verified_at is not None

    def show(self, is_public: bool) -> None:
        if self.is_public != is_public:
            self._set(is_public=is_public)

    def take_roles(self, roles: Sequence[str], admins: Collection[UUID]) -> bool:
        """Have exactly these roles; whether that changed anything. Raises AccountClosed, or LastAdmin.

        `admins` are locked; they come before this account is, so that two who depose each other at once do so in turn.
        """
        if not self.is_active:
            raise AccountClosed("Nothing of it can be changed any more.")
        if set(roles) == set(self.roles):
            return False
        if "admin" not in roles and set(admins) == {self.id}:
            raise LastAdmin("Make somebody else an admin first.")
        self._set(roles=list(roles))
        return True

    def set_password(self, hashed_password: str) -> None:
        """Raises AccountClosed."""
        if not self.is_active:
            raise AccountClosed("Nothing of it can be changed any more.")
        self._set(hashed_password=hashed_password)

    def grant(self, role: str) -> bool:
        """Add `role`; whether it is new. It is in the tokens of later logins."""
        if role in self.roles:
            return False
        self._set(roles=[*self.roles, role])
        return True

    def rehash(self, hashed_password: str) -> None:
        """Keep the same password under a new hash, unless it was changed to another one meanwhile."""
        unchanged = (User.id == self.id) & (User.hashed_password == self.hashed_password)
        postgres.session().execute(update(User).where(unchanged).values(hashed_password=hashed_password))

    def _set(self, **values: object) -> None:
        for field, value in values.items():
            setattr(self, field, value)
        self._name()
        self.updated_at = postgres.now()

    def _name(self) -> None:
        self.first_last = searchable(self.first_name, self.last_name)
        self.last_first = searchable(self.last_name, self.first_name)


@contextmanager
def _unique() -> Iterator[None]:
    """Write what the block changes. Raises AlreadyTaken, and the transaction goes on."""
    try:
        with postgres.session().begin_nested():
            yield
    except IntegrityError as error:
        violated: Any = error.orig
        field = UNIQUE_FIELDS[violated.diag.constraint_name]
        message = "belongs to another account"
        raise AlreadyTaken(f"{field}: {message}", errors=[{"field": field, "message": message}]) from error
