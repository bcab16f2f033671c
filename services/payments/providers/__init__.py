"""Payment providers behind one interface; Stripe's library is imported only where it is used."""

from services.payments.providers.interface import Charge, Gone, Provider, ProviderUnavailable, Refused, Repayment
from services.payments.settings import Settings

__all__ = ["Charge", "Gone", "Provider", "ProviderUnavailable", "Refused", "Repayment", "default", "named"]


def named(name: str) -> Provider:
    """Raises KeyError for a provider that is not configured."""
    settings = Settings.current()
    if name == "sandbox":
        from services.payments.providers.sandbox import SandboxProvider

        return SandboxProvider(settings)
    if name == "stripe" and settings.stripe_key.get_secret_value():
        from services.payments.providers.stripe import StripeProvider

        return StripeProvider(settings)
    raise KeyError(name)


def default() -> str:
    """Name of the provider for new payments."""
    return Settings.current().provider
