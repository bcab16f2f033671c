"""What the users service is told by its environment beyond what every service is."""

from pydantic import Field

import chassis.settings


class Settings(chassis.settings.Settings):
    """The cost of a password hash: argon2id with the memory of OWASP's first recommendation and twice its passes.

    One hash takes about 35 ms of one core: a thief of the table tries 30 passwords per second and core, a customer
    notices nothing. An account's hash is brought to new parameters at its next login.
    """

    argon2_memory_kibibytes: int = Field(default=19 * 1024, ge=8, le=1024 * 1024)
    """Memory of one hash. One per core is made at once, so the process may need that many times as much."""

    argon2_passes: int = Field(default=4, ge=1, le=100)
    """Passes over that memory: time grows in proportion, for us and for a thief."""

    argon2_lanes: int = Field(default=1, ge=1, le=16)
    """More would let one login occupy several cores, which the other requests need."""
