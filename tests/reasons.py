"""Every reason with every reader, and what customers must not find anywhere."""

from contracts.reasons import LANGUAGES, Audience, Reason

REASONS = list(Reason)
READERS = [(audience, language) for audience in Audience for language in LANGUAGES]


def hidden(reason: Reason) -> list[str]:
    """The code and the words that are for staff only."""
    return [] if reason.shown_to(Audience.CUSTOMER) is reason else [reason.value, *reason.staff]
