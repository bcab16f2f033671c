"""Plots as SVG, drawn on the server; colours come from the style sheet."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 200, 8, 22


def days(since: str, until: str, values: Mapping[str, float]) -> Markup:
    """A bar for each day, with its value as a title."""
    first, last = date.fromisoformat(since), date.fromisoformat(until)
    all_days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    highest = max(values.values(), default=0) or 1
    step = (WIDTH - LEFT) / max(1, len(all_days))
    bars = Markup().join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {:,.2f}</title></rect>').format(
            LEFT + index * step,
            HEIGHT - BOTTOM - height,
            max(1.0, step * 0.8),
            height,
            f"{day:%-d %b %Y}",
            values.get(day.isoformat(), 0),
        )
        for index, day in enumerate(all_days)
        for height in [values.get(day.isoformat(), 0) / highest * (HEIGHT - BOTTOM - 18)]
    )
    return Markup(
        '<svg class="plot" viewBox="0 0 {w} {h}" role="img" aria-label="By day, {a} to {b}, at most {m}">'
        '<line x1="0" x2="{w}" y1="{y}" y2="{y}"/>{bars}<text x="{l}" y="12">{m}</text>'
        '<text x="{l}" y="{t}">{a}</text><text x="{w}" y="{t}" text-anchor="end">{b}</text></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        l=LEFT,
        y=HEIGHT - BOTTOM,
        t=HEIGHT - 5,
        bars=bars,
        m=f"{highest:,.0f}",
        a=f"{first:%-d %b}",
        b=f"{last:%-d %b %Y}",
    )


def bars(rows: Sequence[tuple[str, float]]) -> Markup:
    """Horizontal, largest first."""
    highest = max((value for _, value in rows), default=0) or 1
    height = 34 * len(rows) or 1
    drawn = Markup().join(
        Markup(
            '<rect x="0" y="{}" width="{:.1f}" height="10"/><text x="0" y="{}">{}</text>'
            '<text x="{}" y="{}" text-anchor="end">{:,.2f}</text>'
        ).format(34 * index + 18, value / highest * WIDTH, 34 * index + 13, name[:60], WIDTH, 34 * index + 13, value)
        for index, (name, value) in enumerate(rows)
    )
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="Best sellers">{}</svg>').format(
        WIDTH, height, drawn
    )
