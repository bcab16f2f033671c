"""Who may see which page, and what an attacker cannot do."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest

from services.console.app import create_app
from services.console.pages import allowed
from services.console.settings import ConsoleSettings
from tests.conftest import a_product
from tests.console.visitor import Form, Visitor
from tests.installation import PASSWORD, Person, until

KEY = "A" * 43 + "="
APP = create_app(ConsoleSettings.use(session_keys=[KEY]))
RULES = [rule for rule in APP.url_map.iter_rules() if rule.endpoint != "prometheus_metrics"]
SCRIPT = "<script>alert(1)</script>"


def path(rule: str) -> str:
    rule = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule)
    return re.sub("<[^>]+>", "00000000-0000-4000-8000-000000000000", rule)


def pages(*allow: str) -> list[str]:
    found = {
        path(rule.rule) for rule in RULES if allowed(APP, rule.endpoint) in allow and "GET" in (rule.methods or ())
    }
    return sorted(found)


def test_every_page_says_who_may_see_it() -> None:
    assert [rule.rule for rule in RULES if allowed(APP, rule.endpoint) is None] == []


@pytest.mark.parametrize("page", pages("customer", "staff", "admin"))
def test_who_is_not_logged_in_is_asked_to(visitor: Visitor, page: str) -> None:
    assert visitor.get(page).url.startswith("/account/login?next=")


@pytest.mark.parametrize("page", pages("staff", "admin"))
def test_a_customer_is_refused_by_staffs_pages(customer: Visitor, page: str) -> None:
    assert customer.get(page).status == 403


@pytest.mark.parametrize("rule", [path(r.rule) for r in RULES if "POST" in (r.methods or ())])
def test_nothing_is_changed_without_a_forms_token(customer: Visitor, rule: str) -> None:
    for token in ({}, {"csrf": ""}, {"csrf": "x" * 22}):
        assert customer.send(Form(rule, {}), **token).status == 400


def test_the_token_of_ones_own_session_does_not_fit_anothers(customer: Visitor, url: str) -> None:
    other = Visitor(url)
    token = other.get("/account/login").form("/account/login").fields["csrf"]
    assert customer.send(Form("/account/logout", {"csrf": token})).status == 400
    assert customer.get("/account/").status == 200


def test_anothers_order_is_not_found(
    customer: Visitor, person: Callable[[], Person], product: Callable[[int], str]
) -> None:
    leila = person()
    order = leila.order(product(3))["id"]
    for page in (f"/account/orders/{order}", f"/account/orders/{order}/stream"):
        assert customer.get(page).status == 404


def test_the_session_is_a_cookie_that_no_script_reads_and_no_other_site_sends(visitor: Visitor) -> None:
    said = visitor.get("/account/login").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in said.split(";")}
    assert "Domain" not in said


def test_over_tls_the_cookie_never_leaves_it() -> None:
    app = APP.test_client()
    said = app.get("/account/login", headers={"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
    assert said.startswith("__Host-souk=")
    assert "Secure" in said


def test_a_login_leaves_nothing_of_the_session_before(visitor: Visitor, person: Callable[[], Person], url: str) -> None:
    """Who has planted a cookie is not logged in by its victim's login."""
    leila = person()
    form = visitor.get("/account/login").form("/account/login")
    planted = visitor.cookie
    visitor.send(form, email=leila.email, password=PASSWORD)
    assert visitor.cookie != planted
    after = visitor.get("/account").form("/account/logout").fields["csrf"]
    assert after != form.fields["csrf"]
    attacker = Visitor(url)
    attacker.browser.cookies.set("souk", planted, domain="127.0.0.1", path="/")
    assert attacker.get("/account").url.startswith("/account/login")


@pytest.mark.parametrize("cookie", ["", "x", "gAAAAA" + "A" * 100, "{}"])
def test_a_forged_session_is_none(visitor: Visitor, cookie: str) -> None:
    visitor.browser.cookies.set("souk", cookie, domain="127.0.0.1", path="/")
    assert visitor.get("/account").url.startswith("/account/login")


def test_after_a_logout_the_old_cookie_is_worth_nothing(customer: Visitor, url: str) -> None:
    held = customer.cookie
    customer.send(customer.get("/").form("/account/logout"))
    assert customer.get("/account").url.startswith("/account/login")
    thief = Visitor(url)
    thief.browser.cookies.set("souk", held, domain="127.0.0.1", path="/")
    until(lambda: thief.get("/account").url.startswith("/account/login"))


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "evil"]
)
def test_a_login_leads_only_to_own_pages(visitor: Visitor, person: Callable[[], Person], elsewhere: str) -> None:
    leila = person()
    form = visitor.get("/account/login").form("/account/login")
    page = visitor.send(form, email=leila.email, password=PASSWORD, next=elsewhere)
    assert page.url == "/shop/"


def test_words_are_text_wherever_they_are_shown(customer: Visitor, staff: Person) -> None:
    name = f"{SCRIPT}{uuid4().hex[:6]}"
    sold = staff.call("POST", "/products/", {**a_product(stock_quantity=3), "name": name, "description": SCRIPT})
    product = customer.get(f"/shop/products/{sold['id']}")
    basket = customer.send(product.form("/shop/basket"))
    checkout = customer.get("/account/orders/checkout")
    order = customer.send(checkout.form("/account/orders/checkout"))
    found = customer.get(f"/shop?q={SCRIPT}")
    login = customer.send(customer.get("/account/login").form("/account/login"), email=SCRIPT, next=SCRIPT)
    for page in (product, basket, checkout, order, found, login):
        assert SCRIPT not in page.body
        assert "&lt;script&gt;" in page.body


def test_pages_hold_no_token_and_no_inline_script_or_style(customer: Visitor) -> None:
    for path in ("/", "/shop", "/account", "/account/orders"):
        page = customer.get(path)
        assert not re.search(r"eyJ[\w-]+\.|<script(?! src)|<style|\sstyle=|\son\w+=", page.body)
        assert page.headers["Cache-Control"] == "no-store"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_a_strange_address_is_a_page_too(visitor: Visitor) -> None:
    page = visitor.get("/shop/nothing")
    assert page.status == 404
    assert "There is no such page" in page.text


def test_a_demo_needs_development() -> None:
    app = create_app(ConsoleSettings.use(session_keys=[KEY], environment="production"))
    client = app.test_client()
    assert "/demo" not in client.get("/account/login").text
    with client.session_transaction() as session:
        session["csrf"] = "token"
    for page in ("/demo", "/account/demo"):
        assert client.post(page, data={"csrf": "token"}).status_code == 404


def test_a_page_about_a_missing_file_is_not_kept_by_caches(customer: Visitor) -> None:
    missing = customer.get("/assets/nothing.css")
    assert (missing.status, missing.headers["Cache-Control"]) == (404, "no-store")
    assert "public" in customer.get("/assets/style.css").headers["Cache-Control"]


@pytest.mark.parametrize("key", ["☃", "two\nlines", "x" * 200])
def test_a_damaged_form_harms_no_other(customer: Visitor, product: Callable[[int], str], key: str) -> None:
    customer.send(customer.get(f"/shop/products/{product(5)}").form("/shop/basket"))
    form = customer.get("/account/orders/checkout").form("/account/orders/checkout")
    # More than a circuit breaker bears.
    assert {customer.send(form, key=key).status for _ in range(6)} == {400}
    assert customer.send(form).url.startswith("/account/orders/")
