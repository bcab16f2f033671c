"""Kinds of notifications and their delivery rules."""

from dataclasses import dataclass

EMAIL, SMS, PUSH = "email", "sms", "push"
CHANNELS = (EMAIL, SMS, PUSH)


@dataclass(frozen=True)
class Kind:
    name: str
    offered: frozenset[str]
    on: frozenset[str]

    fixed: frozenset[str] = frozenset()
    """Cannot be turned off: security, and what customers are entitled to in writing."""

    waits: bool = False
    """For quiet hours; never security or money."""

    collectable: bool = False
    """For e-mail digests."""

    wants_consent: bool = False
    """Marketing, which is dropped at the rate cap."""

    is_capped: bool = True
    """Not security, or an attacker could silence it by filling the cap."""

    is_internal: bool = False
    """Ignores preferences."""


def _kind(name: str, on: str, offered: str = "email sms push", fixed: str = "", **rules: bool) -> Kind:
    return Kind(name, frozenset(offered.split()), frozenset(on.split()), frozenset(fixed.split()), **rules)


KINDS = {
    kind.name: kind
    for kind in (
        _kind("account.email_verification", "email", offered="email", fixed="email", is_capped=False),
        _kind("account.password_reset", "email", offered="email", fixed="email", is_capped=False),
        _kind("account.registration_repeated", "email", offered="email", fixed="email", is_capped=False),
        _kind("account.password_changed", "email push", fixed="email", is_capped=False),
        _kind("order.confirmed", "email push", fixed="email"),
        _kind("order.cancelled", "email push", fixed="email"),
        _kind("order.refunded", "email push", fixed="email"),
        _kind("order.shipped", "email push", waits=True, collectable=True),
        _kind("order.delivered", "email push", waits=True, collectable=True),
        _kind("staff.message", "email sms push", waits=True),
        _kind("marketing.news", "email push", waits=True, collectable=True, wants_consent=True),
        _kind("digest", "email", offered="email", is_internal=True),
        _kind("stock.low", "email", offered="email", is_capped=False, is_internal=True),
    )
}

CHOOSABLE = {name: kind for name, kind in KINDS.items() if not kind.is_internal}
