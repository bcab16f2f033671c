"""Settings of the payments service."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from chassis.base import settings
from contracts.currencies import Currency


class Settings(settings.Settings):
    provider: Literal["sandbox", "stripe"] = "sandbox"
    """The provider of new payments; each payment stays with the provider that it began with."""

    sandbox_url: str = ""
    """Base URL of the sandbox provider."""

    sandbox_key: SecretStr = SecretStr("")
    """The bearer key for the sandbox provider."""

    sandbox_webhook_secret: SecretStr = SecretStr("")
    """Verifies the sandbox provider's webhooks; empty refuses all."""

    stripe_key: SecretStr = SecretStr("")
    """Stripe's secret API key; empty without Stripe."""

    stripe_webhook_secret: SecretStr = SecretStr("")
    """Verifies Stripe's webhooks; empty refuses all."""

    stripe_url: str = "https://api.stripe.com"
    """Base URL of Stripe's API."""

    stripe_return_url: str = ""
    """Where Stripe returns customers after confirmation; empty for shops that confirm in their own page."""

    webhook_tolerance_seconds: float = Field(default=300.0, gt=0)
    """Maximum age of a webhook's signature: longer than clock skew and delivery take."""

    provider_timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    """Read timeout of calls to providers. Shorter than a usual response, it doubles every request."""

    authorize_timeout_seconds: float = Field(default=600.0, gt=0)
    """How long a provider, or a customer on its page, may leave a new payment open before it is called off. Longer than a
    short outage, and shorter than orders wait for a reply."""

    capture_timeout_seconds: float = Field(default=3_000.0, gt=0)
    """The same for a capture: longer, because an outage should not undo a confirmed order."""

    settling_seconds: float = Field(default=120.0, ge=0)
    """How long after a request a charge may still appear; until then "not found" is not conclusive. Longer than the
    provider's own timeouts and the delay of its search."""

    currencies: Annotated[frozenset[Currency], Field(min_length=1)] = frozenset({"EUR"})
    """Accepted ISO 4217 codes (JSON list). Each must be counted in hundredths, as the columns are: no JPY."""
