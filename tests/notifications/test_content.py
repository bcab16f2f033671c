"""Every kind has content in every language, on every channel it is offered on."""

from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest

from services.notifications.content import LANGUAGES, render
from services.notifications.kinds import CHOOSABLE, KINDS
from tests.notifications.conftest import confirmed

NOW = datetime(2025, 3, 3, 9, tzinfo=UTC)
ITEM = SimpleNamespace(subject="One thing", text="And what of it.")
FACTS = {
    "name": "Amal <b>",
    "unsubscribe": "http://souk.example/stop",
    "order": confirmed(),
    "reason": "Because.",
    "note": None,
    "link": "http://souk.example/?token=t",
    "token": "t",
    "expires_at": NOW,
    "at": NOW,
    "title": "A title",
    "body": "Some words.",
    "items": [ITEM],
    "stock": SimpleNamespace(product_id=uuid4(), sku="pot", on_hand=1, threshold=3),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("kind", "channel"), [(name, channel) for name, kind in KINDS.items() for channel in sorted(kind.offered)]
)
def test_content_is_not_empty_and_markup_is_escaped(language, kind, channel):
    content = render(kind, channel, language, "Europe/Berlin", **FACTS)
    assert content.text.strip()
    assert bool(content.subject) == (channel != "sms")
    assert bool(content.html) == (channel == "email")
    assert "<b>" not in content.html
    assert "\n\n\n\n" not in content.text


@pytest.mark.parametrize("kind", [*CHOOSABLE, "digest"])
def test_a_german_reader_reads_german(kind):
    english, german = (render(kind, "email", locale, **FACTS) for locale in ("en", "de-AT"))
    assert english.text != german.text
    assert german.text.startswith("Hallo Amal")
    assert '<html lang="de">' in german.html


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("en", "€102.50"),
        ("de", "102,50\xa0€"),
        ("xx", "€102.50"),
        (None, "€102.50"),
        ("../de", "€102.50"),
    ],
)
def test_money_is_formatted_for_the_readers_locale(locale, shown):
    assert shown in render("order.confirmed", "email", locale, **FACTS).text


def test_times_are_in_the_readers_time_zone():
    text = render("account.password_changed", "email", "de", "Asia/Tokyo", **FACTS).text
    assert "3. März 2025" in text
    assert "18:00:00" in text
