"""Kinds of notifications: their channels, what users may turn off, and what may be delayed."""

from dataclasses import dataclass

EMAIL, SMS, PUSH = "email", "sms", "push"
CHANNELS = (EMAIL, SMS, PUSH)


@dataclass(frozen=True)
class Kind:
    name: str
    offered: frozenset[str]
    on: frozenset[str]
    """Channels that are on by default."""

    fixed: frozenset[str] = frozenset()
    """Channels that cannot be turned off: security, and what customers are entitled to in writing."""

    waits: bool = False
    """Delayed in quiet hours. Security and money never are."""

    collectable: bool = False
    """Its e-mail may be part of a digest."""

    wants_consent: bool = False
    """Marketing: sent only with consent, and dropped where other kinds would wait for the rate cap."""

    is_capped: bool = True
    """Counts towards the rate cap. Security does not, or an attacker could use the cap to silence it."""

    is_internal: bool = False
    """Not subject to preferences: for staff, or made of other notifications."""


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
