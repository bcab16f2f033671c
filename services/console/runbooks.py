"""What to do about an alert: monitoring/runbooks."""

import re
from pathlib import Path

from markupsafe import Markup, escape

FOLDER = Path(__file__).parents[2] / "monitoring" / "runbooks"


def by_alert() -> dict[str, str]:
    """dead-letters of DeadLetters."""
    return {path.stem.title().replace("-", ""): path.stem for path in FOLDER.glob("*.md")}


def rendered(name: str) -> Markup:
    """Without its heading. Of Markdown, they use paragraphs, bold and code."""
    text = (FOLDER / f"{name}.md").read_text()
    paragraphs = [each for each in re.split(r"\n\s*\n", text.strip()) if not each.startswith("#")]
    return Markup("\n").join(_paragraph(each) for each in paragraphs)


def _paragraph(text: str) -> Markup:
    html = re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup("<p>{}</p>").format(Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html)))  # noqa: S704 - escaped above
