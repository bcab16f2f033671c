"""Payment providers behind one seam (`interface.py`): the sandbox, and Stripe, whose library is imported only where it is used."""

from services.payments.providers.interface import Charge, Provider, ProviderUnavailable, Refused, Repayment
from services.payments.settings import Settings

__all__ = ["Charge", "Provider", "ProviderUnavailable", "Refused", "Repayment", "default", "named"]


def named(name: str) -> Provider:
    """The provider that a payment was begun with, which is the only one that can end it. Raises KeyError for one that is not set up."""
    settings = Settings.current()
    if name == "sandbox":
        from services.payments.providers.sandbox import SandboxProvider

        return SandboxProvider(settings)
    if name == "stripe" and settings.stripe_key.get_secret_value():
        from services.payments.providers.stripe import StripeProvider

        return StripeProvider(settings)
    raise KeyError(name)


def default() -> str:
    """Name of the provider with which new payments are begun."""
    return Settings.current().provider
