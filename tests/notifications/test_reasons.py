"""Every reason as a customer reads it by mail, SMS and push, and in the list of what they were sent."""

from html import unescape

import pytest

from chassis.run.testing import bearer
from contracts.reasons import LANGUAGES, Audience
from contracts.users import UserPreferencesUpdated
from services.notifications.channels.sandbox import mailbox_address
from tests.notifications.conftest import ADDRESS, AMAL, cancelled, registered
from tests.reasons import REASONS, hidden

PHONE = "+4915112345678"


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_reason_is_written_in_the_customers_language(
    desk, mailbox, browser, push_service, client, notifications, language, reason
):
    http, headers = client(notifications), bearer(notifications, AMAL)
    device = browser()
    desk.handle(registered(), UserPreferencesUpdated(AMAL, language, "UTC", "EUR", False))
    body = {"phone": PHONE, "channels": {"order.cancelled": {"sms": True, "push": True}}}
    assert http.put(f"/notifications/{AMAL}/preferences", json=body, headers=headers).status_code == 200
    desk.handle(cancelled(reason))
    [mail], [sms] = mailbox.letters(ADDRESS), mailbox.letters(mailbox_address(PHONE))
    [push] = [device.read(body) for _, body, _ in push_service.taken]
    listed = http.get(f"/notifications/{AMAL}", headers=headers)
    assert len(listed.json["items"]) == 3
    parts = [mail.text, unescape(mail.html), sms.text, push["body"], *(item["text"] for item in listed.json["items"])]
    assert [part for part in parts if reason.text(Audience.CUSTOMER, language) not in part] == []
    everything = " ".join([*parts, mail.summary.subject, *map(str, push.values()), listed.text])
    assert [secret for secret in hidden(reason) if secret in everything] == []
