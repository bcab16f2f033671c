"""Takes the pictures in docs/images of a running installation: `.venv/bin/python -m tests.console.pictures`."""

import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from launcher.services import STAFF_EMAIL
from launcher.stack import Stack
from tests.console.test_browser import CHROMIUM

FOLDER = Path(__file__).parents[2] / "docs" / "images"

SIZES = {"": (1280, 860), "-phone": (390, 844)}
"""By the end of the file's name."""


def main() -> None:
    if not CHROMIUM:
        sys.exit("apt-get install chromium")
    stack = Stack()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        order = _ordered(browser, stack)
        _operated(browser, stack, order)
        browser.close()


def _ordered(browser: Browser, stack: Stack) -> str:
    """Pictures of the shop, and of a new customer's order; returns its id."""
    page = browser.new_page(base_url=stack.gateway_url)
    _take(page, {"shop": "/shop?q=lamp"})
    page.goto("/shop?q=harmonium")
    page.get_by_role("link", name="Harmonium, Portable").click()
    page.get_by_role("button", name="Add to basket").click()
    page.get_by_role("link", name="Check out").click()
    page.get_by_role("button", name="Log in as a new customer").click()
    page.goto("/account/orders/checkout")
    page.get_by_role("button", name="Order and pay").click()
    expect(page.locator("summary").first).to_contain_text("is confirmed", timeout=60_000)
    order = page.url.rpartition("/")[2]
    _take(page, {"order": page.url})
    return order


def _operated(browser: Browser, stack: Stack, order: str) -> None:
    page = browser.new_page(base_url=stack.gateway_url)
    page.goto("/account/login")
    page.get_by_label("E-mail").fill(STAFF_EMAIL)
    page.get_by_label("Password").fill(stack.installation.secrets["operator-password"])
    page.get_by_role("main").get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/shop/")
    _take(
        page,
        {"start": "/", "operate": "/staff", "operate-order": f"/staff/orders/{order}", "docs": "/docs/orders"},
    )


def _take(page: Page, paths: Mapping[str, str]) -> None:
    for name, path in paths.items():
        page.goto(path)
        for end, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=FOLDER / f"{name}{end}.png")


if __name__ == "__main__":
    main()
