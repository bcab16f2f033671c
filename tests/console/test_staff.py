"""What staff do in the console, on real services."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
import requests

from tests.conftest import a_product
from tests.console.conftest import LogIn
from tests.console.test_journey import once
from tests.console.visitor import Form, Page, Visitor
from tests.installation import Person

Sell = Callable[[int], str]


@pytest.fixture
def operator(log_in: LogIn, staff: Person) -> Visitor:
    return log_in(staff)


def do(operator: Visitor, page: Page, action: str, why: str = "A customer asked", **fields: str) -> Page:
    """Press the button, give the reason, and confirm."""
    asked = operator.send(page.form(action), **fields)
    assert asked.status == 200
    return operator.send(asked.form(action), why=why)


def settled(operator: Visitor, leila: Person, product_id: str) -> Page:
    """Staff's page of a paid order of hers."""
    order = leila.settled(leila.order(product_id)["id"])
    return once(
        operator, f"/staff/orders/{order['id']}", "Captured", "Sold", "smtp", "stock.committed", "Refund Refund"
    )


def test_an_order_is_found_by_its_id_and_by_its_buyers_address(
    operator: Visitor, person: Callable[[], Person], product: Sell
) -> None:
    leila = person()
    order = leila.order(product(3))["id"]
    assert operator.get(f"/staff/find?q={order}").url == f"/staff/orders/{order}"
    people = operator.get(f"/staff/find?q={leila.email}")
    assert leila.email in people.text
    assert f"/staff/customers/{leila.id}" in people.body
    assert order[:8] in operator.get(f"/staff/customers/{leila.id}").text


def test_an_order_is_found_by_its_requests_correlation_and_trace_ids(
    operator: Visitor, person: Callable[[], Person], product: Sell
) -> None:
    request, leila = str(uuid4()), person()
    body = {"lines": [{"product_id": product(3), "quantity": 1}], "payment_method": "tok_success"}
    placed = leila.send("POST", "/orders/", body, **{"Idempotency-Key": uuid4().hex, "X-Correlation-ID": request})
    page = f"/staff/orders/{placed.json()['id']}"
    assert operator.get(f"/staff/find?q={request}").url == page
    assert operator.get(f"/staff/find?q={placed.headers['X-Kong-Request-Id']}").url == page
    assert request in operator.get(page).text
    assert placed.json()["id"][:8] in operator.get(f"/staff/requests/{request}").text
    assert operator.get(f"/staff/find?q={leila.id}").url == f"/staff/customers/{leila.id}"
    for unknown in (str(uuid4()), uuid4().hex):
        assert "Nothing is found" in operator.get(f"/staff/find?q={unknown}").text


def test_an_orders_page_tells_its_whole_story(operator: Visitor, person: Callable[[], Person], product: Sell) -> None:
    page = settled(operator, person(), product(3))
    for part in ("order.placed", "stock.reserved", "payment.captured", "Captured €12.50", "Copper kettle", "sent by"):
        assert part in page.text
    for entry in ("Authorized Customer Held €12.50", "Captured Held Captured €12.50"):
        assert entry in page.text
    assert "./souk up --observe starts Jaeger and VictoriaLogs" in page.text


def test_an_order_is_shipped_and_refunded_each_asked_again_with_a_reason(
    operator: Visitor, person: Callable[[], Person], product: Sell
) -> None:
    page = settled(operator, person(), product(3))
    asked = operator.send(page.form(f"{page.url}/ship"))
    assert "Mark as shipped" in asked.text
    assert "Shipped" not in operator.get(page.url).form("/staff/orders").action
    # Without a reason it is asked once more.
    assert "Why" in operator.send(asked.form(f"{page.url}/ship"), why=" ").text
    done = operator.send(asked.form(f"{page.url}/ship"), why="The parcel left")
    assert "Shipped" in done.text
    refunded = do(operator, done, f"{page.url}/refund", "The lid was scratched", amount="2.50")
    assert "done" in refunded.text
    once(operator, page.url, "Refunds", "The lid was scratched", "€2.50")


def test_a_refund_above_the_payment_is_refused_with_what_is_left(
    operator: Visitor, person: Callable[[], Person], product: Sell
) -> None:
    page = settled(operator, person(), product(3))
    refused = do(operator, page, f"{page.url}/refund", amount="99.00")
    assert refused.status == 409
    assert "12.50 EUR" in refused.text


def test_a_product_is_added_changed_and_taken_off_sale(operator: Visitor) -> None:
    name = f"Lantern {uuid4().hex[:8]}"
    form = operator.get("/staff/products/new").form("/staff/products/new")
    refused = operator.send(form, sku="?", name=name, category="lamps", price="1", stock_quantity="4")
    assert refused.status == 422
    assert "SKU must have" in refused.text
    made = operator.send(form, sku=uuid4().hex, name=name, category="lamps", price="19.90", stock_quantity="4")
    assert "The product is on sale" in made.text
    shown = f"/shop/products/{made.url.rpartition('/')[2]}"
    asked = operator.send(made.form(made.url), price="25.00")
    assert "from 19.90 EUR to 25.00 EUR" in asked.text
    assert "€19.90" in operator.get(shown).text
    changed = operator.send(asked.form(made.url), why="The supplier's price rose")
    assert "done" in changed.text
    overtaken = operator.send(made.form(made.url), name=f"{name} again", price="25.00")
    assert overtaken.status == 412
    assert "€25.00" in operator.get(shown).text
    adjusted = do(operator, changed, f"{made.url}/stock", "Counted", quantity="-3")
    assert "On hand 1" in adjusted.text
    operator.send(adjusted.form(made.url), is_active=None)
    assert "off sale" in operator.get(shown).text


@pytest.mark.parametrize("units", ["abc", "", "1.5", "\u0661", "1_0"])
def test_what_is_not_a_number_is_refused_by_its_fields_name(
    operator: Visitor, customer: Visitor, product: Sell, units: str
) -> None:
    path = f"/staff/products/{product(3)}"
    refused = operator.send(operator.get(path).form(f"{path}/stock"), quantity=units)
    assert refused.status == 422
    assert "The number of units must be a whole number" in refused.text
    new = operator.get("/staff/products/new").form("/staff/products/new")
    refused = operator.send(new, sku=uuid4().hex, name="Lantern", category="lamps", price="1", stock_quantity=units)
    assert refused.status == 422
    assert "Units in stock must be a whole number" in refused.text
    bought = customer.send(customer.get(path.replace("staff", "shop")).form("/shop/basket"), quantity=units)
    assert bought.status == 422
    assert "quantity: must be a whole number" in bought.text


def test_an_import_reports_each_refused_row(operator: Visitor) -> None:
    sku = uuid4().hex
    rows = f"sku,name,category,price,currency\n{sku},Lantern,lamps,9.90,EUR\n{sku}x,,lamps,9.90,EUR\n"
    token = operator.get("/staff/products").form("/staff/products/import").fields["csrf"]

    def send(why: str) -> requests.Response:
        form = {"csrf": token, "why": why}
        files = {"file": ("products.csv", rows, "text/csv")}
        return operator.browser.post(f"{operator.url}/staff/products/import", data=form, files=files, timeout=30)

    assert send(" ").status_code == 422
    sent = send("The winter catalogue")
    assert sent.status_code == 200
    text = re.sub("<[^>]+>", " ", sent.text)
    assert "1 added" in text
    assert "1 refused" in text
    assert f"{sku}x" in text


def test_roles_are_given_by_admins_alone(
    log_in: LogIn, operator: Visitor, admin: Person, person: Callable[[], Person]
) -> None:
    leila = person()
    path = f"/staff/customers/{leila.id}"
    page = operator.get(path)
    token = page.form("/account/logout").fields["csrf"]
    assert operator.send(Form(f"{path}/roles", {"csrf": token, "staff": "on", "sure": "1", "why": "x"})).status == 403
    chief = log_in(admin)
    done = do(chief, chief.get(path), f"{path}/roles", staff="on")
    assert "Roles customer, staff" in done.text
    assert "Roles changed" in done.text


def test_the_overview_names_stuck_orders_and_sales_are_plotted(
    operator: Visitor, person: Callable[[], Person], product: Sell
) -> None:
    settled(operator, person(), product(3))
    assert "Stuck orders" in operator.get("/staff").text
    page = once(operator, "/staff/sales", "Copper kettle")
    assert "<svg" in page.body
    assert operator.get("/staff/sales.csv").body.startswith("day,placed,confirmed,revenue,refunded")


def test_a_runbook_is_shown_and_nothing_beside_them(operator: Visitor) -> None:
    assert "Diagnose" in operator.get("/staff/runbooks/orders-stuck").text
    for path in ("/staff/runbooks/nothing", "/staff/runbooks/..%2f..%2fREADME", "/staff/runbooks/../README"):
        assert operator.get(path).status == 404


@pytest.mark.parametrize("path", ["/staff/orders/{id}/ship", "/staff/orders/{id}/refund", "/staff/products/new"])
def test_a_customer_changes_nothing_there(customer: Visitor, path: str) -> None:
    token = customer.get("/account").form("/account/logout").fields["csrf"]
    fields = {"csrf": token, "sure": "1", "why": "Because"}
    assert customer.send(Form(path.format(id=uuid4()), fields)).status == 403


def test_words_of_others_are_text_in_staffs_pages(operator: Visitor, staff: Person) -> None:
    script = "<script>alert(2)</script>"
    made = staff.call("POST", "/products/", {**a_product(stock_quantity=3), "name": script})
    for path in (f"/staff/products/{made['id']}", "/staff/products?q=alert", f"/staff/find?q={script}"):
        assert script not in operator.get(path).body


def test_a_dead_letter_is_looked_at_and_replayed_once_with_a_reason(
    operator: Visitor, staff: Person, dead_letter: str
) -> None:
    page = once(operator, "/staff/dead-letters", "user.deleted")
    assert dead_letter in page.body
    path = f"/staff/dead-letters/notifications/{dead_letter}"
    letter = operator.get(path)
    assert dead_letter in letter.text
    assert "A replay sends it to notifications" in letter.text
    asked = operator.send(letter.form(f"{path}/replay"))
    assert "Replay user.deleted, which sends it to notifications?" in asked.text
    # A dry run leaves it where it is.
    assert operator.get(path).status == 200
    # A double click.
    for _ in range(2):
        done = operator.send(asked.form(f"{path}/replay"), why="Its cause is gone")
        assert "done" in done.text
    assert operator.get(path).status == 404
    trail = operator.get("/staff/trail")
    assert trail.text.count(f"Replay dead letter {dead_letter[:8]}") == 1
    for part in (staff.email, "Its cause is gone", "user.deleted sent to notifications"):
        assert part in trail.text


def test_an_order_that_waits_is_resumed_and_compensated(
    operator: Visitor, person: Callable[[], Person], product: Sell
) -> None:
    order = person().order(product(3), payment_method="tok_pending")["id"]
    path = f"/staff/orders/{order}"
    page = once(operator, path, "It waits", "payment.authorize")
    resumed = do(operator, page, f"{path}/saga/resume", "The bank is back")
    assert "done" in resumed.text
    assert "order.resumed" in operator.get(path).text
    compensated = do(operator, operator.get(path), f"{path}/saga/compensate", "The customer called")
    assert "done" in compensated.text
    once(operator, path, "Cancelled", "The customer called")


@pytest.mark.parametrize("path", ["/staff/dead-letters/notifications/x/replay", "/staff/orders/{id}/saga/resume"])
def test_a_customer_mends_nothing(customer: Visitor, path: str) -> None:
    token = customer.get("/account").form("/account/logout").fields["csrf"]
    fields = {"csrf": token, "sure": "1", "why": "Because"}
    assert customer.send(Form(path.format(id=uuid4()), fields)).status == 403
