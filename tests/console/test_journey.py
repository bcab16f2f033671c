"""What a customer does in the shop, on real services, by a browser without JavaScript."""

import json
import re
from collections.abc import Callable
from uuid import uuid4

import requests

from tests.console.visitor import Page, Visitor
from tests.installation import Person, until

Sell = Callable[[int], str]

CHECKOUT = "/account/orders/checkout"

SETTLED_SECONDS = 180
"""For the whole saga with its mail, on a busy machine."""


def buy(customer: Visitor, product_id: str, quantity: int = 1, card: str = "tok_success") -> Page:
    """The page of the order just placed."""
    form = customer.get(f"/shop/products/{product_id}").form("/shop/basket")
    customer.send(form, quantity=str(quantity))
    page = customer.send(customer.get(CHECKOUT).form(CHECKOUT), payment_method=card)
    assert re.fullmatch("/account/orders/[0-9a-f-]{36}", page.url), page.text
    return page


def once(customer: Visitor, path: str, *texts: str) -> Page:
    """The page once it shows all of them."""

    def look() -> Page | None:
        page = customer.get(path)
        return page if all(text in page.text for text in texts) else None

    found: Page = until(look, SETTLED_SECONDS)
    return found


def test_the_start_page_shows_what_runs(visitor: Visitor) -> None:
    page = visitor.get("/")
    assert page.status == 200
    for service in ("Users", "Products", "Orders", "Payments", "Notifications"):
        assert f"{service} Ready" in page.text


def test_one_button_places_a_demo_order_that_goes_through_every_service(visitor: Visitor) -> None:
    order = visitor.send(visitor.get("/").form("/demo"))
    page = once(visitor, order.url, "Confirmed", "Captured", "is confirmed email, sent")
    assert "order.placed" in page.text
    assert "Thank you for your order! It is confirmed:" in page.text


def test_a_slip_in_a_search_is_corrected(visitor: Visitor) -> None:
    page = visitor.get("/shop?q=harmonum")
    assert "Showing results for harmonium" in page.text
    assert "Harmonium, Portable" in page.text


def test_facets_narrow_the_products(visitor: Visitor) -> None:
    lamps = visitor.get("/shop?q=harmonium&category=lamps&max_price=25")
    music = visitor.get("/shop?q=harmonium&category=music")
    assert "Harmonium, Portable" not in lamps.text
    assert "Harmonium, Portable" in music.text
    assert "Harmonium, Portable" not in visitor.get("/shop?q=harmonium&category=music&max_price=25").text
    assert "category=music" in music.body


def test_a_customer_orders_pays_and_gets_a_mail(customer: Visitor, product: Sell) -> None:
    order = buy(customer, product(5), 2)
    page = once(customer, order.url, "Confirmed", "Captured €25.00", "sent")
    assert "Your order" in page.text
    assert order.url.rpartition("/")[2][:8] in customer.get("/account/orders").text
    assert "Your basket is empty" in customer.get("/shop/basket").text


def test_a_basket_survives_the_login(visitor: Visitor, person: Callable[[], Person], product: Sell) -> None:
    leila, kettle = person(), product(5)
    visitor.send(visitor.get(f"/shop/products/{kettle}").form("/shop/basket"), quantity="3")
    asked = visitor.get(CHECKOUT)
    assert asked.url.startswith("/account/login")
    page = visitor.send(asked.form("/account/login"), email=leila.email, password="correct horse battery")
    assert page.url == CHECKOUT
    assert "€37.50" in page.text


def test_a_declined_card_says_why_and_cancels(customer: Visitor, product: Sell) -> None:
    order = buy(customer, product(5), card="tok_declined_insufficient_funds")
    once(customer, order.url, "Cancelled", "Declined", "there is not enough money")


def test_a_pending_payment_is_confirmed_at_the_bank(customer: Visitor, product: Sell) -> None:
    order = buy(customer, product(5), card="tok_pending")
    page = once(customer, order.url, "Confirm the payment at your bank")
    address = re.search(r'href="(http://127[^"]+)"[^>]*>Confirm the payment', page.body)
    assert address is not None
    requests.post(address[1], {"decision": "confirm"}, timeout=30)
    once(customer, order.url, "Confirmed", "Captured")


def test_a_cancelled_order_is_refunded(customer: Visitor, product: Sell) -> None:
    order = buy(customer, product(5))
    # Cancelled before orders knows of the capture, it would be voided instead.
    page = once(customer, order.url, "Confirmed", "payment.captured", "stock.committed")
    cancelled = customer.send(page.form(f"{order.url}/cancel"))
    assert "What was paid comes back" in cancelled.text
    once(customer, order.url, "order.cancelled", "order.refunded", "of which €12.50 refunded")


def test_a_form_sent_twice_is_one_order(customer: Visitor, product: Sell) -> None:
    customer.send(customer.get(f"/shop/products/{product(5)}").form("/shop/basket"))
    form, held = customer.get(CHECKOUT).form(CHECKOUT), customer.cookie
    first = customer.send(form)
    customer.browser.cookies.set("souk", held, domain="127.0.0.1", path="/")
    assert customer.send(form).url == first.url


def test_a_price_that_has_risen_is_said_before_paying(customer: Visitor, product: Sell, staff: Person) -> None:
    kettle = product(5)
    customer.send(customer.get(f"/shop/products/{kettle}").form("/shop/basket"))
    form = customer.get(CHECKOUT).form(CHECKOUT)
    shown = staff.call("GET", f"/products/{kettle}")
    body = {name: shown[name] for name in ("sku", "name", "description", "category", "currency")}
    staff.call("PUT", f"/products/{kettle}", {**body, "price": "99.00"})
    page = customer.send(form)
    assert page.status == 409
    assert "Price has risen" in page.text


def test_an_order_is_followed_live(customer: Visitor, product: Sell) -> None:
    order = buy(customer, product(5), card="tok_slow")
    with customer.browser.get(customer.url + f"{order.url}/stream", stream=True, timeout=30) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        parts = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith(b"data: "))
        assert any("Confirmed" in part for part in parts)


def test_preferences_are_saved_and_refusals_name_the_field(customer: Visitor) -> None:
    page = customer.get("/account")
    saved = customer.send(page.form("/account/preferences"), time_zone="Europe/Berlin", marketing_consent="on")
    assert "Your preferences are saved" in saved.text
    assert saved.form("/account/preferences").fields["time_zone"] == "Europe/Berlin"
    refused = customer.send(page.form("/account/preferences"), time_zone="Nowhere")
    assert refused.status == 422
    assert "Time zone is not a time zone" in refused.text


def test_notifications_can_be_turned_off_one_by_one(customer: Visitor) -> None:
    # The services hear of each other's new customers a moment later.
    page = until(
        lambda: page if (page := customer.get("/account")).status == 200 and "Quiet from" in page.text else None
    )
    form = page.form("/account/notifications")
    assert form.fields["order.shipped:email"] == "on"
    assert "Empty: that of your preferences, UTC" in page.text
    quiet = {"quiet_begin": "22:00", "quiet_end": "07:00", "quiet_zone": "Asia/Tokyo"}
    saved = customer.send(form, **{"order.shipped:email": None, **quiet})
    assert "Your notifications are saved" in saved.text
    # Saved again as it is, nothing changes.
    again = customer.send(saved.form("/account/notifications")).form("/account/notifications").fields
    assert "order.shipped:email" not in again
    assert {name: again[name] for name in quiet} == quiet
    assert again["order.delivered:email"] == "on"


def test_registering_with_a_weak_password_keeps_what_was_typed(visitor: Visitor) -> None:
    form = visitor.get("/account/register").form("/account/register")
    page = visitor.send(form, email="leila@example.com", username="leila.h", password="password12")
    assert page.status == 422
    assert page.form("/account/register").fields["email"] == "leila@example.com"
    assert "password12" not in page.body


def test_an_order_is_followed_beyond_its_customers_newest_hundred(
    customer: Visitor, staff: Person, product: Sell
) -> None:
    order = buy(customer, product(5))
    page = once(customer, order.url, "Captured €12.50", "is confirmed")
    found = staff.call("GET", f"/orders/{page.url.rpartition('/')[2]}")
    for path in (f"/payments/user/{found['user_id']}?order_id=", f"/notifications/{found['user_id']}?subject_id="):
        assert staff.call("GET", path + found["id"])["items"]
        assert not staff.call("GET", path + str(uuid4()))["items"]
