"""What the users API takes and gives."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from chassis.paging import PageView
from chassis.schemas import Body, View
from services.users.settings import Settings


def _email_address(text: str) -> str:
    """`text` as we compare and keep addresses: lower case, Unicode NFC. No DNS is asked."""
    try:
        # Lower-casing may lengthen a text, so it comes before the check of its length. Pydantic's EmailStr would also
        # take "Joe <joe@example.com>", and refuse the `.test` domains that a developer has.
        development = Settings.current().environment == "development"
        valid = validate_email(text.lower(), check_deliverability=False, strict=True, test_environment=development)
    except EmailNotValidError as error:
        raise PydanticCustomError("email", "is not an e-mail address: {reason}", {"reason": str(error)}) from None
    return valid.normalized


EmailAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_email_address),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]

# ASCII, so that no username looks like another one; without "@", so that none is taken for an e-mail address.
Username = Annotated[str, Field(min_length=3, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

# One line, since it ends up in the headers of e-mails.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class Profile(Body):
    """All that an owner may change; what is left out is emptied."""

    email: EmailAddress
    username: Username
    first_name: Name | None = None
    last_name: Name | None = None


class NewUser(Profile):
    """The password: 10 to 200 characters that contain neither the e-mail address nor the username."""

    password: Annotated[SecretStr, Field(min_length=10, max_length=200)]

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
    password: Annotated[SecretStr, Field(max_length=200)]


class TokenView(View):
    """`expires_in` is in seconds."""

    access_token: str
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
    created_at: datetime
    updated_at: datetime


class UserPage(PageView):
    items: list[UserView]
