"""A browser without JavaScript: cookies, links and forms."""

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import requests

TIMEOUT_SECONDS = 30


@dataclass
class Form:
    action: str
    fields: dict[str, str]
    """Checkboxes and radio buttons as ticked."""


@dataclass
class Page:
    url: str
    status: int
    headers: Any
    body: str
    history: list[requests.Response]

    @property
    def text(self) -> str:
        """As it is read, without markup."""
        visible = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", self.body, flags=re.DOTALL)
        return " ".join(html.unescape(visible).split())

    @property
    def forms(self) -> list[Form]:
        parser = _Forms()
        parser.feed(self.body)
        return parser.found

    def form(self, action: str) -> Form:
        """Whose path begins with `action`."""
        [found, *_] = [each for each in self.forms if each.action.startswith(action)]
        return found


class Visitor:
    def __init__(self, url: str) -> None:
        self.url = url
        self.browser = requests.Session()

    def get(self, path: str, **headers: str) -> Page:
        return self._page(self.browser.get(urljoin(self.url, path), headers=headers, timeout=TIMEOUT_SECONDS))

    def send(self, form: Form, **changes: Any) -> Page:
        """Follows the redirect. A change to None leaves the field out."""
        fields = {name: value for name, value in {**form.fields, **changes}.items() if value is not None}
        return self._page(self.browser.post(urljoin(self.url, form.action), fields, timeout=TIMEOUT_SECONDS))

    def post(self, path: str, **fields: str) -> Page:
        """Without a form."""
        return self.send(Form(path, {}), **fields)

    @property
    def cookie(self) -> str:
        return self.browser.cookies.get("souk") or ""

    def _page(self, response: requests.Response) -> Page:
        path = response.url.removeprefix(self.url)
        return Page(path, response.status_code, response.headers, response.text, response.history)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._select = ""
        self._textarea = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self.found.append(Form(given.get("action") or "", {}))
        elif tag == "input" and (name := given.get("name")):
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self.found[-1].fields[name] = given.get("value") or ("" if "value" in given else "on")
        elif tag == "textarea":
            self._textarea = given.get("name") or ""
            self.found[-1].fields[self._textarea] = ""
        elif tag == "select":
            self._select = given.get("name") or ""
        elif tag == "option" and ("selected" in given or self._select not in self.found[-1].fields):
            self.found[-1].fields[self._select] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.found[-1].fields[self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
