"""Web Push: to each registered device, encrypted for it, by allowed push services only."""

from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from services.notifications.channels import public_https
from tests.chassis.faulty import faulty
from tests.notifications.conftest import AMAL, confirmed, registered
from tests.notifications.parties import Browser

URL = f"/notifications/{AMAL}/devices"


def push(desk):
    [row] = [row for row in desk.notifications() if row.channel == "push"]
    return row


def test_every_device_gets_a_push_that_only_it_can_decrypt(desk, browser, push_service, mailbox):
    first, second = browser(), browser()
    order = confirmed()
    desk.handle(order)
    assert [path for path, _, _ in push_service.taken] == [first.path, second.path]
    for each, (_, body, headers) in zip((first, second), push_service.taken, strict=True):
        shown = each.read(body)
        assert shown["title"] == f"Your order {str(order.order_id)[:8]} is confirmed"
        assert "€102.50" in shown["body"]
        assert shown["tag"] == headers["Topic"]
        assert int(headers["Ttl"]) > 0
    assert b"confirmed" not in push_service.taken[0][1]
    assert push(desk).status == "sent"


@pytest.mark.parametrize("gone", [404, 410])
def test_a_subscription_that_has_ended_is_removed(desk, browser, push_service, http, owner, mailbox, gone):
    ended, alive = browser(), browser()
    push_service.status[ended.path] = gone
    desk.handle(confirmed())
    assert [device["id"] for device in http.get(URL, headers=owner).json["items"]] == [alive.id]
    assert push(desk).status == "sent"


def test_a_push_fails_when_no_device_is_left(desk, browser, push_service, mailbox):
    push_service.status[browser().path] = 410
    desk.handle(confirmed())
    assert (push(desk).status, push(desk).error) == ("failed", "No device is left.")
    desk.handle(confirmed())
    assert len([row for row in desk.notifications() if row.channel == "push"]) == 1


def test_a_push_is_retried_only_for_devices_it_did_not_reach(desk, browser, push_service, mailbox):
    well, busy = browser(), browser()
    push_service.status[busy.path] = 429
    desk.fail(confirmed())
    assert push(desk).status == "pending"
    del push_service.status[busy.path]
    desk.deliver(push(desk).id)
    assert [path for path, _, _ in push_service.taken] == [well.path, busy.path]
    assert push(desk).status == "sent"


@pytest.mark.parametrize("how", ["down", "slow", "disconnecting", "failing", "refusing us"])
def test_a_push_waits_while_its_service_fails(desk, browser, push_service, settings, mailbox, how):
    settings(provider_timeout_seconds=0.3)
    with faulty() as upstream:
        device = browser(upstream.url)
        match how:
            case "down":
                upstream.server.server_close()
                upstream.server.shutdown()
            case "slow":
                upstream.hangs = True
            case "disconnecting":
                upstream.hangs_up = True
            case "failing":
                upstream.status = 503
            case _:
                upstream.status = 403
        desk.fail(confirmed())
        assert push(desk).status == "pending"
    assert device.endpoint not in (push(desk).error or "")


def test_redirects_of_a_push_service_are_not_followed(desk, browser, push_service, mailbox):
    push_service.status[browser().path] = 301
    desk.handle(confirmed())
    assert (push(desk).status, push(desk).error) == ("failed", "Its push service sent a redirect.")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoint": "https://10.0.0.7/push"}, "endpoint"),
        ({"endpoint": "http://push.example.com/x"}, "endpoint"),
        ({"endpoint": "https://push.example.com:8500/x"}, "endpoint"),
        ({"endpoint": "https://push.example.com@127.0.0.1/x"}, "endpoint"),
        ({"endpoint": "https://evilpush.example.com.evil.org/x"}, "endpoint"),
        ({"endpoint": "https://push.example.com:port/x"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1\\.push.example.com/"}, "endpoint"),
        ({"endpoint": "https://..push.example.com/"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1/.push.example.com/"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1%2f.push.example.com/"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1#.push.example.com/"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1?.push.example.com/"}, "endpoint"),
        ({"endpoint": "https://x_y.push.example.com/"}, "endpoint"),
        ({"endpoint": "https://PUSH.EXAMPLE.COM/"}, "endpoint"),
        ({"endpoint": "ftp://push.example.com/x"}, "endpoint"),
        ({"keys": {"p256dh": "short", "auth": "A" * 22}}, "keys.p256dh"),
        ({"keys": {"p256dh": "B" + "A" * 86, "auth": "!" * 22}}, "keys.auth"),
    ],
)
def test_an_invalid_subscription_or_unknown_push_service_is_refused(http, owner, change, field):
    response = http.post(URL, json=Browser("https://push.example.com").subscription() | change, headers=owner)
    assert response.status_code == 422
    assert [wrong["field"] for wrong in response.json["errors"]] == [field]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "0.0.0.0"])
def test_a_push_is_not_sent_to_an_address_inside_whatever_its_name(desk, http, owner, settings, mailbox, host):
    settings(push_hosts=(host,))
    subscription = Browser(f"https://{host}").subscription()
    assert http.post(URL, json=subscription, headers=owner).status_code == 201
    desk.fail(confirmed())
    assert push(desk).error == "Its push service cannot be reached."


def test_neither_log_nor_customer_sees_the_subscriptions_url_or_our_network(
    desk, http, owner, settings, mailbox, notifications, capsys
):
    subscription = Browser("https://localhost").subscription()
    settings(push_hosts=("localhost",))
    http.post(URL, json=subscription, headers=owner)
    desk.fail(confirmed())
    url = f"/notifications/{AMAL}/{push(desk).id}"
    seen = (
        http.get(url, headers=owner).json["log"],
        http.get(url, headers=bearer(notifications, uuid4(), "staff")).json["log"],
    )
    assert [log[0]["error"] for log in seen] == [None, "Its push service cannot be reached."]
    path = subscription["endpoint"].rpartition("/")[2]
    assert path not in str(seen)
    assert path not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("fd00::1", False),
        ("100.64.0.1", False),
    ],
)
def test_only_public_addresses_are_connected_to(address, expected):
    assert public_https.is_public(address) is expected


def test_a_browser_registered_again_is_the_same_device(http, owner, desk, notifications):
    body = Browser("https://push.example.com").subscription()
    ids = {http.post(URL, json=body, headers=owner).json["id"] for _ in range(2)}
    assert len(ids) == 1
    omar = uuid4()
    desk.handle(registered(omar, "omar@example.com"))
    theirs = http.post(f"/notifications/{omar}/devices", json=body, headers=bearer(notifications, omar))
    assert {theirs.json["id"]} == ids
    assert http.get(URL, headers=owner).json["items"] == []


def test_an_address_may_look_like_a_card_number(http, owner):
    subscription = Browser("https://push.example.com").subscription()
    subscription["endpoint"] += "-4242424242424242"
    assert http.post(URL, json=subscription, headers=owner).status_code == 201


def test_devices_are_bounded_and_can_be_removed(http, owner):
    responses = [
        http.post(URL, json=Browser("https://push.example.com").subscription(), headers=owner) for _ in range(21)
    ]
    assert [response.status_code for response in responses] == [201] * 20 + [409]
    location = responses[0].headers["Location"]
    assert http.delete(location, headers=owner).status_code == 204
    assert http.delete(location, headers=owner).status_code == 404
    assert len(http.get(URL, headers=owner).json["items"]) == 19


def test_another_users_devices_are_not_found(http, owner, notifications):
    device = http.post(URL, json=Browser("https://push.example.com").subscription(), headers=owner).json["id"]
    other = bearer(notifications, uuid4())
    assert http.get(URL, headers=other).status_code == 404
    assert http.post(URL, json=Browser("https://push.example.com").subscription(), headers=other).status_code == 404
    assert http.delete(f"{URL}/{device}", headers=other).status_code == 404
    unknown = uuid4()
    url = f"/notifications/{unknown}/devices"
    response = http.post(
        url, json=Browser("https://push.example.com").subscription(), headers=bearer(notifications, unknown)
    )
    assert response.status_code == 404


def test_staff_can_push_only_to_a_user_with_a_device(http, owner, browser, desk, notifications, push_service, mailbox):
    def write():
        headers = bearer(notifications, uuid4(), "staff") | {"Idempotency-Key": uuid4().hex}
        body = {"user_id": str(AMAL), "title": "Your teapot", "body": "It is ready."}
        return http.post("/notifications/push", json=body, headers=headers)

    assert write().status_code == 409
    device = browser()
    assert write().status_code == 202
    desk.system.drain()
    [(_, body, _)] = push_service.taken
    assert (device.read(body)["title"], device.read(body)["body"]) == ("Your teapot", "It is ready.")


def test_without_a_key_push_is_unavailable(http, settings):
    settings(vapid_key="")
    assert http.get("/notifications/push/key").status_code == 404
