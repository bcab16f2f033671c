"""Payment providers; Stripe's library is imported only when used."""

from services.payments.providers.interface import Charge, Gone, Provider, ProviderUnavailable, Refused, Repayment
from services.payments.settings import Settings

__all__ = ["Charge", "Gone", "Provider", "ProviderUnavailable", "Refused", "Repayment", "default", "named"]


def named(name: str) -> Provider:
    """Raises KeyError if not configured."""
    settings = Settings.current()
    if name == "sandbox":
        from services.payments.providers.sandbox import SandboxProvider

        return SandboxProvider(settings)
    if name == "stripe" and settings.stripe_key.get_secret_value():
        from services.payments.providers.stripe import StripeProvider

        return StripeProvider(settings)
    raise KeyError(name)


def default() -> str:
    return Settings.current().provider
