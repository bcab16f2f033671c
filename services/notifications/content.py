"""Messages in the recipient's language.

Mails: `<kind>.subject.txt`, `<kind>.txt`, `<kind>.html`. SMS: `<kind>.short.txt`. Push: subject and short text.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from contracts import money
from services.notifications.kinds import EMAIL, PUSH

if TYPE_CHECKING:
    from babel import Locale

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_LANGUAGE = "en"
LANGUAGES = tuple(sorted(folder.name for folder in TEMPLATES.iterdir() if folder.is_dir()))


@dataclass(frozen=True)
class Content:
    """SMS have no `subject`; only mails have `html`."""

    subject: str
    text: str
    html: str = ""


NO_CONTENT = Content("", "")


def render(kind: str, channel: str = EMAIL, locale: str | None = None, time_zone: str = "UTC", **facts: Any) -> Content:
    """Raises jinja2's errors."""
    where = parse_locale(locale)

    def part(ending: str) -> str:
        template = _environment(where.language).get_template(f"{kind}.{ending}")
        return template.render(facts, money=_money(where), moment=_moment(where, time_zone))

    def line(ending: str) -> str:
        return " ".join(part(ending).split())

    if channel == EMAIL:
        return Content(line("subject.txt"), part("txt").strip() + "\n", part("html"))
    return Content(line("subject.txt") if channel == PUSH else "", line("short.txt"))


def render_page(name: str, language: str, **facts: Any) -> str:
    return _environment(language).get_template(name).render(facts)


def parse_locale(locale: str | None) -> "Locale":
    """de, de-AT or de_AT if supported, else English."""
    # 4 MB: import only in processes that write messages.
    from babel import Locale, UnknownLocaleError

    try:
        parsed = Locale.parse((locale or DEFAULT_LANGUAGE).replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale(DEFAULT_LANGUAGE)
    return parsed if parsed.language in LANGUAGES else Locale(DEFAULT_LANGUAGE)


def _money(locale: "Locale") -> Any:
    from babel.numbers import format_currency

    def shown(amount: int, currency: str) -> str:
        """1250 EUR is €12.50; always two decimals."""
        return format_currency(money.from_minor(amount), currency, locale=locale, currency_digits=False)

    return shown


def _moment(locale: "Locale", time_zone: str) -> Any:
    from babel.dates import format_datetime, get_timezone

    def shown(at: datetime) -> str:
        return format_datetime(at, "long", tzinfo=get_timezone(time_zone), locale=locale)

    return shown


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        # Staff mails are English only.
        loader=FileSystemLoader([TEMPLATES / language, TEMPLATES / DEFAULT_LANGUAGE, TEMPLATES]),
        # Plain text would show the escapes.
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        # Compiled once: no look at the file for each message.
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["language"] = language
    return environment
