"""All that is known about an order, for staff: from every service, Jaeger and VictoriaLogs."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from services.console import api, observed, orders

MAX_LINES = 10
MAX_MAILS = 10
MAX_PAYMENTS = 5
"""Of an order, for each of which a service is asked."""


def of_order(order_id: UUID) -> dict[str, Any]:
    """Raises Refusal for an unknown one."""
    told = orders.story(order_id)
    order, mails, payments = told["order"], told["mails"][:MAX_MAILS], told["payments"][:MAX_PAYMENTS]
    who, lines = order["user_id"], order["lines"][:MAX_LINES]
    read = api.each(
        customer=f"/users/{who}",
        saga=f"/orders/operations/sagas/{order_id}",
        actions=f"/orders/operations/actions?subject={order_id}",
        **_named("line", (f"/products/{line['product_id']}/stock-movements?reference={order_id}" for line in lines)),
        **_named("mail", (f"/notifications/{who}/{mail['id']}" for mail in mails)),
        **_named("refunds", (f"/payments/{paid['id']}/refunds" for paid in payments)),
        **_named("ledger", (f"/payments/{paid['id']}/ledger" for paid in payments)),
    )
    names = {line["product_id"]: line["name"] for line in lines}
    movements = [{**entry, "name": names[entry["product_id"]]} for entry in _items(read, "line")]
    return {
        **told,
        "customer": read["customer"],
        "saga": read["saga"],
        "done": (read["actions"] or {"items": []})["items"],
        "movements": sorted(movements, key=lambda entry: entry["at"]),
        "deliveries": [*_found(read, "mail")],
        "refunds": [*_items(read, "refunds")],
        "ledger": sorted(_items(read, "ledger"), key=lambda entry: entry["occurred_at"]),
        "missing": [*{each.text: each for each in (*told["missing"], *_failures(read))}.values()],
        "observed": observed.of_order(order_id, _trace_ids(told["events"])),
    }


def _named(name: str, paths: Iterator[str]) -> dict[str, str]:
    return {f"{name}{i}": path for i, path in enumerate(paths)}


def _found(read: Mapping[str, Any], name: str) -> Iterator[Any]:
    return (found for key, found in read.items() if key.rstrip("0123456789") == name and found)


def _items(read: Mapping[str, Any], name: str) -> Iterator[Any]:
    return (each for found in _found(read, name) for each in found["items"])


def _failures(read: Mapping[str, Any]) -> Iterator[api.Missing]:
    return (found for found in read.values() if isinstance(found, api.Missing) and found.is_failure)


def _trace_ids(events: list[dict[str, Any]]) -> list[str]:
    """The first one's first."""
    return [*dict.fromkeys(each["trace_id"] for each in events if each["trace_id"])]
