"""What the payments service is told by its environment."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from chassis.base import settings

CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$")]


class Settings(settings.Settings):
    provider: Literal["sandbox", "stripe"] = "sandbox"
    """With whom new payments are begun; each payment ends with the provider that it began with."""

    sandbox_url: str = ""
    """Base URL of the sandbox provider."""

    sandbox_key: SecretStr = SecretStr("")
    """The bearer key that the sandbox provider wants to see."""

    sandbox_webhook_secret: SecretStr = SecretStr("")
    """With which the sandbox provider signs its webhooks; empty takes none."""

    stripe_key: SecretStr = SecretStr("")
    """Stripe's secret API key; empty where there is no Stripe."""

    stripe_webhook_secret: SecretStr = SecretStr("")
    """With which Stripe signs its webhooks; empty takes none."""

    stripe_url: str = "https://api.stripe.com"
    stripe_return_url: str = ""
    """Where Stripe sends a customer back to who had to confirm a payment; empty for shops that do it in their own page."""

    webhook_tolerance_seconds: float = Field(default=300.0, gt=0)
    """How old a webhook's signature may be: longer than clocks differ and networks dawdle, too short to use it again."""

    provider_timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    """How long a provider may think. Shorter than it usually needs, and every charge is asked for twice."""

    authorize_patience_seconds: float = Field(default=600.0, gt=0)
    """How long a provider (or a customer on its page) may leave a new payment open; then it is called off, and its order told.
    Longer than the provider's usual bad minutes, and shorter than orders wait before they give up without a reason."""

    capture_patience_seconds: float = Field(default=3_000.0, gt=0)
    """The same for a capture, whose order is confirmed already: an outage should not undo it."""

    settling_seconds: float = Field(default=120.0, ge=0)
    """How long after a charge was asked for it may still come to light: sooner, "there is none" is not believed.
    Longer than the provider's own time limits and the delay of its search."""

    currencies: frozenset[CurrencyCode] = frozenset({"EUR"})
    """ISO 4217 codes in which we take money (JSON list). Each must count in hundredths, as the columns do: no JPY."""
