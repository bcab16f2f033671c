"""What a message says: each kind has three templates, `<kind>.subject.txt`, `<kind>.txt` and `<kind>.html`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from chassis import money


@dataclass(frozen=True)
class Content:
    """`subject` is one line."""

    subject: str
    text: str
    html: str


NO_CONTENT = Content("", "", "")


def render(kind: str, **facts: Any) -> Content:
    """Raises jinja2's errors when a template or one of the facts that it names is missing: a bug of ours."""
    subject, text, html = (
        _templates.get_template(f"{kind}.{ending}").render(facts) for ending in ("subject.txt", "txt", "html")
    )
    return Content(" ".join(subject.split()), text.strip() + "\n", html)


def _money(amount: int, currency: str) -> str:
    """1250 and EUR are 12.50 EUR."""
    return f"{money.from_minor(amount):,} {currency}"


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    # The text parts are no markup: escaping there would show.
    autoescape=select_autoescape(enabled_extensions=("html",), default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["money"] = _money
