"""The pages in a real browser: Debian's Chromium, with JavaScript and axe."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from launcher.stack import Stack
from services.console.app import create_app
from services.console.settings import ConsoleSettings
from tests.installation import PASSWORD, Person

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="NO BROWSER: the pages are not tried in one. apt-get install chromium"
)

WIDTHS = (390, 1280)

# Waits end as soon as what they wait for is there.
TIMEOUT_MILLISECONDS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # In a container, root has no sandbox to enter.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Of a new visitor. What it reports as an error fails the test."""
    context = browser.new_context(base_url=stack.gateway_url)
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    expect.set_options(timeout=TIMEOUT_MILLISECONDS)
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield opened
    context.close()
    assert not errors


def assert_accessible(page: Page) -> None:
    """No serious finding of axe, in both colour schemes, and nothing wider than the screen."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = [each for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
        assert not found, [(page.url, scheme, each["id"], _where(each)) for each in found]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{page.url} at {width}"


def _where(violation: dict[str, Any]) -> list[str]:
    return [each["html"] for each in violation["nodes"][:3]]


def test_a_customer_searches_as_they_type_buys_and_watches_the_order(page: Page, product: Callable[[int], str]) -> None:
    page.goto("/")
    assert_accessible(page)
    page.get_by_role("link", name="Visit the shop").click()
    page.get_by_role("searchbox").fill("harmonum")
    expect(page.get_by_text("Showing results for")).to_be_visible()
    expect(page.get_by_text("Harmonium, Portable")).to_be_visible()
    assert_accessible(page)
    buy(page, product(5), "Card of a slow bank")
    # Without a reload: the events arrive.
    page.evaluate("window.isTheSame = true")
    expect(page.locator(".state")).to_contain_text("Confirmed")
    expect(page.get_by_text("Captured", exact=True)).to_be_visible()
    expect(page.locator("summary")).to_contain_text("is confirmed")
    assert page.evaluate("window.isTheSame")
    assert_accessible(page)


def buy(page: Page, product_id: str, card: str) -> None:
    """As a new customer."""
    page.goto(f"/shop/products/{product_id}")
    page.get_by_role("button", name="Add to basket").click()
    page.get_by_role("link", name="Check out").click()
    page.get_by_role("button", name="Log in as a new customer").click()
    page.goto("/account/orders/checkout")
    page.get_by_label(card).check()
    page.get_by_role("button", name="Order and pay").click()


def test_a_refused_payment_says_why(page: Page, product: Callable[[int], str]) -> None:
    buy(page, product(5), "Card without enough money")
    expect(page.locator(".state")).to_contain_text("Cancelled")
    expect(page.get_by_text("there is not enough money").first).to_be_visible()
    assert_accessible(page)


def test_a_pending_payment_is_confirmed_at_the_bank(page: Page, product: Callable[[int], str]) -> None:
    buy(page, product(5), "Card that its bank confirms first")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Confirm the payment at your bank").click()
    opened.value.get_by_role("button", name="Pay", exact=True).click()
    expect(page.locator(".state")).to_contain_text("Confirmed")
    expect(page.get_by_text("Captured", exact=True)).to_be_visible()


def test_an_operator_replays_a_dead_letter(page: Page, staff: Person, dead_letter: str) -> None:
    log_in(page, staff)
    page.goto(f"/staff/dead-letters/notifications/{dead_letter}")
    assert_accessible(page)
    page.get_by_role("button", name="Replay").click()
    page.get_by_label("Why").fill("Its cause is gone")
    page.get_by_role("button", name="Yes, do it").click()
    expect(page.get_by_text("done").first).to_be_visible()
    page.goto("/staff/trail")
    expect(page.get_by_text(f"Replay dead letter {dead_letter[:8]}")).to_be_visible()


def test_a_customer_sees_nothing_of_what_staff_see(page: Page, person: Callable[[], Person]) -> None:
    log_in(page, person())
    expect(page.get_by_role("link", name="Operate")).to_have_count(0)
    for path in ("/staff", "/staff/dead-letters", "/staff/trail"):
        assert page.request.get(path).status == 403


def test_an_operator_mends_an_order_that_waits(
    page: Page, staff: Person, person: Callable[[], Person], product: Callable[[int], str]
) -> None:
    leila = person()
    order = leila.order(product(5), payment_method="tok_pending")["id"]
    log_in(page, staff)
    page.goto("/staff/dead-letters")
    assert_accessible(page)
    page.goto(f"/staff/orders/{order}")
    page.get_by_role("button", name="Compensate").click()
    page.get_by_label("Why").fill("The customer called")
    page.get_by_role("button", name="Yes, do it").click()
    expect(page.locator(".state")).to_contain_text("Cancelled")
    assert_accessible(page)
    page.goto("/docs/orders")
    page.locator("details").first.locator("summary").click()
    assert_accessible(page)


@pytest.mark.long
@pytest.mark.parametrize("path", ["/", "/shop", "/shop/basket", "/account/login", "/account/register"])
def test_open_pages_are_accessible(page: Page, path: str) -> None:
    page.goto(path)
    assert_accessible(page)


@pytest.mark.long
@pytest.mark.parametrize("path", ["/account", "/account/orders"])
def test_own_pages_are_accessible(page: Page, path: str, person: Callable[[], Person]) -> None:
    log_in(page, person())
    page.goto(path)
    assert_accessible(page)


@pytest.mark.long
def test_staffs_pages_are_accessible(
    page: Page, staff: Person, person: Callable[[], Person], product: Callable[[int], str]
) -> None:
    leila = person()
    order = leila.settled(leila.order(product(5))["id"])["id"]
    log_in(page, staff)
    found = f"/staff/customers/{leila.id}"
    paths = [
        "",
        "/find",
        f"/requests/{leila.id}",
        "/trail",
        "/products",
        "/products/new",
        "/sales",
        "/runbooks/orders-stuck",
        f"/orders/{order}",
    ]
    for path in [*(f"/staff{each}" for each in paths), found]:
        page.goto(path)
        assert_accessible(page)


@pytest.mark.long
def test_alerts_spans_and_log_lines_are_accessible(
    page: Page,
    served: tuple[str, dict[str, Any]],
    serve: Callable[[Any], str],
    observers: str,
    prometheus: str,
    staff: Person,
    person: Callable[[], Person],
    product: Callable[[int], str],
) -> None:
    urls = {"traces_url": observers, "logs_url": observers, "prometheus_url": prometheus}
    url = serve(create_app(ConsoleSettings.use(**{**served[1], **urls})))
    order = person().order(product(5))["id"]
    log_in(page, staff, url)
    page.goto(f"{url}/staff")
    page.get_by_text("What to do").click()
    expect(page.get_by_text("./souk dead list")).to_be_visible()
    assert_accessible(page)
    page.goto(f"{url}/staff/orders/{order}")
    expect(page.get_by_text("POST orders-all")).to_be_visible()
    assert_accessible(page)


@pytest.mark.long
def test_a_keyboard_is_enough(page: Page) -> None:
    page.goto("/shop")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("harmonium")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Harmonium, Portable")).to_be_visible()


def log_in(page: Page, person: Person, url: str = "") -> None:
    page.goto(f"{url}/account/login")
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/shop/")
