"""What the users service is told by its environment beyond what every service is."""

from limits import parse
from pydantic import Field, SecretStr, field_validator

import chassis.base.settings


class Settings(chassis.base.settings.Settings):
    """The cost of a password hash: argon2id with the memory of OWASP's first recommendation and twice its passes.

    One hash takes 35 to 56 ms of one core where it was measured: a thief of the table tries 18 to 30 passwords per second and
    core, a customer notices nothing. An account's hash is brought to new parameters at its next login.
    """

    threads: int = Field(default=16, ge=1, le=256)
    """Twice `hashes_waiting`: while half of them wait for a hash, the others serve everybody else."""

    argon2_memory_kibibytes: int = Field(default=19 * 1024, ge=8, le=1024 * 1024)
    """Memory of one hash; `hashes_at_once` are made at once."""

    argon2_passes: int = Field(default=4, ge=1, le=100)
    """Passes over that memory: time grows in proportion, for us and for a thief."""

    argon2_lanes: int = Field(default=1, ge=1, le=16)
    """More would let one login occupy several cores, which the other requests need."""

    hashes_at_once: int = Field(default=0, ge=0, le=64)
    """Hashes made at once, at low priority; 0: one core is left to other work, if there is more than one."""

    hash_niceness: int = Field(default=10, ge=0, le=19)
    """How far hashes stand behind other work: at 10, against a busy program, they get a tenth of a core; 0: nothing."""

    hashes_waiting: int = Field(default=8, ge=1, le=128)
    """Requests that are at a hash or wait for one; more are told to come again soon, so that threads are left for others."""

    failures_of_pair: str = "10 per 15 minutes"
    """Failed logins to one account from one address. Fewer lock out who mistypes."""

    failures_of_account: str = "100 per 1 hour"
    """Failed logins to one account from anywhere. Fewer let strangers lock its owner out."""

    failures_of_address: str = "100 per 15 minutes"
    """Failed logins from one address, to any accounts. Fewer punish who shares an address with many."""

    request_secret: SecretStr = Field(min_length=32)
    """From this the tokens in mails are derived. A change makes those void that are under way."""

    @field_validator("failures_of_pair", "failures_of_account", "failures_of_address")
    @classmethod
    def is_a_limit(cls, text: str) -> str:
        parse(text)
        return text
