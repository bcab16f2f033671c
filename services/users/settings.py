"""Settings of the users service."""

from limits import parse
from pydantic import Field, SecretStr, field_validator

import chassis.base.settings


class Settings(chassis.base.settings.Settings):
    """Hashes are argon2id with the memory of OWASP's first recommendation and twice its passes.

    One took 35 to 56 ms of a core when measured, which limits a thief of the table to 18 to 30 guesses per second and core. A hash is
    upgraded at its account's next login.
    """

    threads: int = Field(default=16, ge=1, le=256)
    """Twice `max_waiting_hashes`: half of them always serve other requests."""

    argon2_memory_kibibytes: int = Field(default=19 * 1024, ge=8, le=1024 * 1024)
    """Memory of one hash."""

    argon2_passes: int = Field(default=4, ge=1, le=100)
    """Time grows in proportion, for us and for a thief."""

    argon2_lanes: int = Field(default=1, ge=1, le=16)
    """More would let one login occupy several cores."""

    max_concurrent_hashes: int = Field(default=0, ge=0, le=64)
    """0: all cores but one."""

    hash_niceness: int = Field(default=10, ge=0, le=19)
    """Niceness of the hashing threads. At 10 they get a tenth of a core against a busy program."""

    max_waiting_hashes: int = Field(default=8, ge=1, le=128)
    """Further requests get a 503, which keeps threads free."""

    max_failures_per_account_and_address: str = "10 per 15 minutes"
    """A low limit locks out people who mistype."""

    max_failures_per_account: str = "100 per 1 hour"
    """A low limit lets others lock the owner out."""

    max_failures_per_address: str = "100 per 15 minutes"
    """A low limit punishes people behind a shared address."""

    request_secret: SecretStr = Field(min_length=32)
    """The tokens in mails are derived from it; a change voids those already sent."""

    @field_validator("max_failures_per_account_and_address", "max_failures_per_account", "max_failures_per_address")
    @classmethod
    def is_a_limit(cls, text: str) -> str:
        parse(text)
        return text
