"""Notification preferences: their effect, validation and ownership."""

from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from contracts.users import UserDeleted, UserPreferencesUpdated
from tests.notifications.conftest import AMAL, confirmed, registered, shipped, verified

URL = f"/notifications/{AMAL}/preferences"


@pytest.fixture
def me(client, notifications, desk):
    """Requests as Amal."""
    desk.handle(registered())
    http, headers = client(notifications), bearer(notifications, AMAL)
    return lambda method, url=URL, **options: http.open(
        url, method=method, headers=headers | options.pop("headers", {}), **options
    )


def test_without_preferences_each_kind_has_its_defaults(me):
    shown = me("GET").json
    assert shown["channels"]["order.confirmed"] == {"email": True, "push": True, "sms": False}
    assert shown["channels"]["account.password_reset"] == {"email": True}
    assert (shown["time_zone"], shown["locale"], shown["digest"]) == ("UTC", "en", "none")
    assert "stock.low" not in shown["channels"]


def test_preferences_are_replaced_and_omitted_fields_reset(me):
    wanted = {
        "channels": {"order.shipped": {"email": False, "sms": True}},
        "phone": "+4915112345678",
        "quiet_hours": {"begin": "22:00", "end": "07:30"},
        "time_zone": "Europe/Berlin",
        "digest": "daily",
        "digest_hour": 18,
    }
    put = me("PUT", json=wanted)
    assert put.status_code == 200
    shown = me("GET").json
    assert shown == put.json
    assert shown["channels"]["order.shipped"] == {"email": False, "push": True, "sms": True}
    for name in ("phone", "quiet_hours", "time_zone", "digest", "digest_hour"):
        assert shown[name] == wanted[name]
    assert me("PUT", json={}).json["phone"] is None


def test_a_concurrent_change_fails_the_precondition(me):
    seen = me("GET").headers["ETag"]
    assert me("PUT", json={"digest": "hourly"}, headers={"If-Match": seen}).status_code == 200
    late = me("PUT", json={"digest": "daily"}, headers={"If-Match": seen})
    assert (late.status_code, late.json["type"]) == (412, "/problems/precondition-failed")
    assert me("GET").json["digest"] == "hourly"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"channels": {"order.eaten": {"email": True}}}, "channels"),
        ({"channels": {"account.password_changed": {"email": False}}}, "channels"),
        ({"channels": {"order.confirmed": {"email": False}}}, "channels"),
        ({"channels": {"account.password_reset": {"sms": True}}}, "channels"),
        ({"channels": {"order.shipped": {"fax": True}}}, "channels.order.shipped.fax.[key]"),
        ({"channels": {"order.shipped": {"sms": "yes"}}}, "channels.order.shipped.sms"),
        ({"phone": "0151 12345678"}, "phone"),
        ({"quiet_hours": {"begin": "25:00", "end": "07:00"}}, "quiet_hours.begin"),
        ({"quiet_hours": {"begin": "07:00", "end": "07:00"}}, "quiet_hours"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"digest": "weekly"}, "digest"),
        ({"digest_hour": 24}, "digest_hour"),
        ({"language": "de"}, "language"),
    ],
)
def test_invalid_preferences_are_refused_with_the_name_of_the_field(me, body, field):
    response = me("PUT", json=body)
    assert response.status_code == 422
    assert [wrong["field"] for wrong in response.json["errors"]] == [field]


def test_another_users_preferences_are_not_found(desk, client, notifications):
    desk.handle(registered())
    http = client(notifications)
    other, staff = bearer(notifications, uuid4()), bearer(notifications, uuid4(), "staff")
    assert http.get(URL, headers=other).status_code == 404
    assert http.put(URL, json={}, headers=other).status_code == 404
    assert http.get(URL, headers=staff).status_code == 200
    assert http.get(URL).status_code == 401


def test_an_unknown_or_deleted_user_has_no_preferences(desk, client, notifications):
    http, headers = client(notifications), bearer(notifications, AMAL)
    assert http.get(URL, headers=headers).status_code == 404
    desk.handle(registered())
    assert http.put(URL, json={"phone": "+4915112345678"}, headers=headers).status_code == 200
    desk.handle(UserDeleted(AMAL))
    assert http.get(URL, headers=headers).status_code == 404


def test_a_kind_that_is_turned_off_is_suppressed_with_its_reason(me, desk, mailbox):
    me("PUT", json={"channels": {"order.shipped": {"email": False}}})
    desk.handle(shipped(), confirmed())
    assert [(row.kind, row.status, row.reason) for row in desk.notifications()] == [
        ("order.shipped", "suppressed", "turned off"),
        ("order.confirmed", "sent", None),
    ]
    assert len(mailbox.letters()) == 1


def test_the_accounts_latest_language_and_time_zone_are_used(me, desk, mailbox):
    german = UserPreferencesUpdated(AMAL, "de-DE", "Europe/Berlin", "EUR", marketing_consent=True)
    desk.handle(german)
    shown = me("GET").json
    assert (shown["locale"], shown["time_zone"], shown["marketing_consent"]) == ("de-DE", "Europe/Berlin", True)
    desk.handle_earlier(UserPreferencesUpdated(AMAL, "en", "UTC", "EUR", marketing_consent=False))
    assert me("GET").json["locale"] == "de-DE"
    desk.handle(verified(), confirmed())
    [letter] = mailbox.letters()
    assert "102,50\xa0€" in letter.text
    assert letter.text.startswith("Hallo Amal!")
    assert '<html lang="de">' in letter.html
