"""What the payments service is told by its environment."""

from typing import Annotated

from pydantic import Field, SecretStr

from chassis import settings

CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$")]


class Settings(settings.Settings):
    sandbox_url: str = ""
    """Base URL of the sandbox provider."""

    sandbox_key: SecretStr = SecretStr("")
    """The bearer key that the sandbox provider wants to see."""

    provider_timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    """How long a provider may think. Shorter than it usually needs, and every charge is asked for twice."""

    currencies: frozenset[CurrencyCode] = frozenset({"EUR"})
    """ISO 4217 codes in which we take money (JSON list). Each must count in hundredths, as the columns do: no JPY."""
