"""Accounts."""

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, Index, String, Text, collate, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import Conflict, Forbidden, NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres
from services.users.models import Base

UNIQUE_FIELDS = {"users_email_key": "email", "users_username_key": "username"}

MAX_SEARCHABLE = 200


class AlreadyTaken(Conflict):
    type, title = "/problems/already-taken", "Already in use by another account"


class LastAdmin(Conflict):
    type, title = "/problems/last-admin", "The last admin cannot be removed"


class AccountClosed(Conflict):
    type, title = "/problems/account-closed", "The account is closed"


class User(Base):
    """`email` and `username` are unique in any case. Closed accounts have no names or password."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    email: Mapped[str] = mapped_column(String(255), unique=True)
    pending_email: Mapped[str | None] = mapped_column(String(255))
    """Becomes `email` with the token mailed there. May belong to another account: only its owner learns that."""
    username: Mapped[str] = mapped_column(String(100))
    hashed_password: Mapped[str | None] = mapped_column(String(255))
    first_name: Mapped[str | None] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    roles: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    is_active: Mapped[bool]
    email_verified_at: Mapped[datetime | None]
    is_public: Mapped[bool]
    first_last: Mapped[str] = mapped_column(Text)
    last_first: Mapped[str] = mapped_column(Text)
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
    def new(cls, profile: dict[str, str | None], hashed_password: str) -> Self:
        """Not stored yet. `profile`: email, username, first_name, last_name."""
        now = clock.now()
        user = cls(
            id=uuid4(),
            **profile,
            hashed_password=hashed_password,
            roles=["customer"],
            is_active=True,
            is_public=False,
            created_at=now,
            updated_at=now,
        )
        user._set_search_terms()
        return user

    def register(self) -> bool:
        """False if the address has an account. Raises AlreadyTaken for the username, which is public."""
        # PostgreSQL would log a failed INSERT, with the password hash.
        values = {column.key: getattr(self, column.key) for column in User.__table__.columns}
        inserted = insert(User).values(values).on_conflict_do_nothing().returning(User.id)
        if postgres.session().scalar(inserted) is not None:
            return True
        same_name = select(User.id).where(func.lower(User.username) == func.lower(self.username))
        if postgres.session().scalar(same_name) is not None:
            raise _taken("username")
        return False

    @classmethod
    def by_email(cls, email: str) -> Self | None:
        return postgres.session().scalar(select(cls).where(cls.email == email))

    @classmethod
    def get_for_update(cls, user_id: UUID | None) -> Self:
        return postgres.session().get_one(cls, user_id, with_for_update=True)

    @classmethod
    def lock_admins(cls) -> Sequence[UUID]:
        """Ids, locked in a fixed order."""
        admins = select(cls.id).where(text("'admin' = ANY (roles)")).order_by(cls.id).with_for_update()
        return postgres.session().scalars(admins).all()

    @classmethod
    def visible_to(cls, caller: Caller, user_id: UUID, *, include_closed: bool = False, lock: bool = False) -> Self:
        """Owner and staff; closed accounts staff only, unless `include_closed`. Raises NotFound."""
        user = postgres.session().get(cls, user_id, with_for_update=lock) if caller.owns(user_id) else None
        if user is None or not (user.is_active or include_closed or caller.is_staff):
            raise NotFound(f"There is no user {user_id}.")
        return user

    @classmethod
    def changeable_by(cls, caller: Caller, user_id: UUID, *, include_closed: bool = False) -> Self:
        """Locked. One's own; staff any customer's, admins anyone's. Raises NotFound, Forbidden."""
        user = cls.visible_to(caller, user_id, include_closed=include_closed, lock=True)
        # By changing an admin's e-mail address, staff could become admins.
        if user.roles != ["customer"] and user_id != caller.user_id and "admin" not in caller.roles:
            raise Forbidden("Only admins can change the accounts of staff.")
        return user

    def update_profile(self, profile: dict[str, str | None]) -> bool:
        """Whether anything but the address changed; a new one is pending. Raises AccountClosed, AlreadyTaken."""
        self.require_open()
        changes: dict[str, Any] = {field: value for field, value in profile.items() if getattr(self, field) != value}
        pending = changes.pop("email", None)
        if changes:
            with _unique():
                self._set(**changes)
        if pending != self.pending_email:
            self._set(pending_email=pending)
        return bool(changes)

    def verify_email(self, address: str | None) -> bool:
        """False if it is neither the account's address nor the pending one. Raises AlreadyTaken."""
        if address is None or address not in (self.email, self.pending_email):
            return False
        with _unique():
            self._set(email=address, pending_email=None, email_verified_at=clock.now())
        return True

    def close(self) -> bool:
        """Erases personal data, keeps the id for orders."""
        if not self.is_active:
            return False
        self._set(
            # Registration accepts neither, so nobody can take them first.
            email=f"{self.id}@deleted.invalid",
            pending_email=None,
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

    def require_open(self) -> None:
        if not self.is_active:
            raise AccountClosed("A closed account cannot be changed.")

    @property
    def personal_terms(self) -> list[str]:
        terms = (self.email, self.email.partition("@")[0], self.username, self.first_name, self.last_name)
        return [term for term in terms if term]

    @property
    def email_verified(self) -> bool:
        return self.email_verified_at is not None

    def set_public(self, is_public: bool) -> None:
        if self.is_public != is_public:
            self._set(is_public=is_public)

    def set_roles(self, roles: Sequence[str], admins: Collection[UUID]) -> bool:
        """Whether anything changed. Raises AccountClosed, LastAdmin.

        Lock `admins` first, or two admins could demote each other at once.
        """
        self.require_open()
        if set(roles) == set(self.roles):
            return False
        if "admin" not in roles and set(admins) == {self.id}:
            raise LastAdmin("Make another user an admin first.")
        self._set(roles=list(roles))
        return True

    def set_password(self, hashed_password: str) -> None:
        """Raises AccountClosed."""
        self.require_open()
        self._set(hashed_password=hashed_password)

    def grant(self, role: str) -> bool:
        """Whether it is new. Takes effect at the next login."""
        if role in self.roles:
            return False
        self._set(roles=[*self.roles, role])
        return True

    def rehash(self, hashed_password: str) -> None:
        """Unless the password changed meanwhile."""
        unchanged = (User.id == self.id) & (User.hashed_password == self.hashed_password)
        postgres.session().execute(update(User).where(unchanged).values(hashed_password=hashed_password))

    def _set(self, **values: object) -> None:
        for field, value in values.items():
            setattr(self, field, value)
        self._set_search_terms()
        self.updated_at = clock.after(self.updated_at)

    def _set_search_terms(self) -> None:
        self.first_last = searchable(self.first_name, self.last_name)
        self.last_first = searchable(self.last_name, self.first_name)


def searchable(*names: str | None) -> str:
    """Lower case, no accents: "emile" finds "Émile"."""
    decomposed = unicodedata.normalize("NFKD", " ".join(name for name in names if name))
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(plain.casefold().split())[:MAX_SEARCHABLE]


@contextmanager
def _unique() -> Iterator[None]:
    """Flush. Raises AlreadyTaken; the transaction survives."""
    try:
        with postgres.session().begin_nested():
            yield
    except IntegrityError as error:
        violated: Any = error.orig
        raise _taken(UNIQUE_FIELDS[violated.diag.constraint_name]) from None


def _taken(field: str) -> AlreadyTaken:
    message = "belongs to another account"
    return AlreadyTaken(f"{field}: {message}", errors=[{"field": field, "message": message}])
