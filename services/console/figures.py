"""What operators watch, by Prometheus: on the overview, and in `./souk top`."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from services.console.prometheus import Query

FIRING = 'ALERTS{alertstate="firing",alertname!="Watchdog"}'

OUTBOX = "min by (program, app) (time() - (souk_outbox_oldest_unsent_timestamp_seconds > 0))"

NUMBERS = {
    "Stuck orders": ("max(souk_sagas_stuck)", "{:,.0f}", 0),
    "Dead letters": ("sum(max by (queue) (souk_dead_letters))", "{:,.0f}", 0),
    "Undelivered notifications": ("max(souk_notifications_dead)", "{:,.0f}", 0),
    "Open circuit breakers": ("sum(souk_client_breakers_open)", "{:,.0f}", 0),
    "Oldest unsent message": (f"max({OUTBOX}) or vector(0)", "{:,.0f} s", 60),
    "Messages in queues": (
        "sum(rabbitmq_detailed_queue_messages_ready or rabbitmq_queue_messages_ready)",
        "{:,.0f}",
        1_000,
    ),
    "Requests a second": ("sum(rate(kong_http_requests_total[1m]))", "{:,.1f}", None),
    "Errors in an hour": ('sum(increase(kong_http_requests_total{code=~"5.."}[1h])) or vector(0)', "{:,.0f}", 10),
    "Orders settled in an hour": ("sum(increase(souk_order_settling_seconds_count[1h])) or vector(0)", "{:,.0f}", None),
}
"""Expression, format, and the most that is well."""

LISTS = {
    "Queues": ("sort_desc(sum by (queue) (rabbitmq_detailed_queue_messages_ready) > 0)", "{:,.0f} ready"),
    "Open circuit breakers": ("max by (program, app, upstream) (souk_client_breakers_open) > 0", "open"),
    "Messages not sent yet": (OUTBOX, "{:,.0f} s old"),
    "Error budgets of 30 days": ("slo:budget_left:ratio", "{:.0%} left"),
}
"""Expression and format."""

MAX_ROWS = 12


@dataclass(frozen=True)
class Figure:
    title: str
    text: str
    is_bad: bool


@dataclass(frozen=True)
class Watched:
    alerts: Sequence[Mapping[str, str]]
    """Labels of those that fire."""

    numbers: Sequence[Figure]
    """Those that are known."""

    lists: Mapping[str, Sequence[Figure]]


def read(query: Query) -> Watched | None:
    """None without Prometheus, or when it does not respond."""
    expressions = [FIRING, *(number[0] for number in NUMBERS.values()), *(each[0] for each in LISTS.values())]
    with ThreadPoolExecutor(len(expressions)) as pool:
        firing, *found = pool.map(query, expressions)
    if firing is None:
        return None
    numbers = [
        _figure(title, value, shown, best)
        for (title, (_, shown, best)), result in zip(NUMBERS.items(), found, strict=False)
        for value in _values(result)[:1]
    ]
    lists = {
        title: [_row(each, shown) for each in (result or [])[:MAX_ROWS]]
        for (title, (_, shown)), result in zip(LISTS.items(), found[len(NUMBERS) :], strict=True)
    }
    return Watched([each["metric"] for each in firing], numbers, lists)


def _values(result: list[Any] | None) -> list[float]:
    return [float(each["value"][1]) for each in result or []]


def _figure(title: str, value: float, shown: str, best: float | None) -> Figure:
    return Figure(title, shown.format(value), best is not None and value > best)


def _row(each: Mapping[str, Any], shown: str) -> Figure:
    labels, value = each["metric"], float(each["value"][1])
    name = labels.get("queue") or labels.get("slo") or labels.get("program") or labels.get("app", "")
    title = f"{name} to {labels['upstream']}" if "upstream" in labels else name
    is_spent = "slo" in labels and value <= 0
    is_bad = "upstream" in labels or title.endswith(".dead") or is_spent
    return Figure(title, "used up" if is_spent else shown.format(value), is_bad)
