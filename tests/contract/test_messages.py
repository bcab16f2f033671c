"""Where publishers and handlers must agree, also across releases: every version of a message that was ever sent can be read."""

import importlib
import json
from dataclasses import make_dataclass
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic_core import PydanticSerializationError

from chassis.messaging.message import read
from contracts.orders import OrderCancelled
from launcher.manifests import SERVICES
from tests.contract.recorded import DIRECTORY, file_of, messages, schema_of

MESSAGES = messages()
RECORDED = sorted((type_, version) for type_, cls in MESSAGES.items() for version in range(1, cls.version + 1))

ONLY_STORED = {"order.placed", "order.stuck", "order.resumed", "order.shortfall_accepted", "order.refund_returned"}
"""Facts of an order's own stream, which no service handles yet."""


def recorded(type_: str, version: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file_of(type_, version).read_text())
    return content


def test_every_message_has_a_handler_or_is_only_stored() -> None:
    handled: set[str] = set()
    for service in SERVICES:
        handlers = importlib.import_module(f"services.{service}.app").service.handlers
        handled |= set(handlers.by_type) if handlers is not None else set()
    assert set(MESSAGES) - handled == ONLY_STORED


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_receive_what_it_handles_and_send_what_exists(service: str) -> None:
    handlers, manifest = importlib.import_module(f"services.{service}.app").service.handlers, SERVICES[service]
    assert sorted(manifest.handles) == sorted(handlers.by_type if handlers is not None else ())
    assert set(manifest.publishes) <= set(MESSAGES) - ONLY_STORED


def test_every_message_has_one_publisher() -> None:
    published = sorted(type_ for manifest in SERVICES.values() for type_ in manifest.publishes)
    assert published == sorted(set(MESSAGES) - ONLY_STORED)


def test_every_version_is_recorded_and_no_message_is_gone() -> None:
    """A missing file is written by `python -m tests.contract.recorded`."""
    files = sorted(DIRECTORY.glob("*/v*.json"))
    assert [(file.parent.name, int(file.stem[1:])) for file in files] == RECORDED


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_changed_message_has_a_new_version(type_: str) -> None:
    """Where this fails, do not edit the recorded file: give the message an upcaster, and record its new version."""
    cls = MESSAGES[type_]
    assert schema_of(cls) == recorded(type_, cls.version)["schema"]


@pytest.mark.parametrize(("type_", "version"), RECORDED)
def test_every_recorded_version_is_read(type_: str, version: int) -> None:
    example, cls = recorded(type_, version)["example"], MESSAGES[type_]
    message = read(type_, example, version)
    assert cls.of(message.data(), cls.version) == message
    if version == cls.version:
        assert message.data() == example


def test_a_field_of_another_type_is_not_sent() -> None:
    cancelled = OrderCancelled(UUID(int=1), UUID(int=2), cast("Any", "out_of_stock"))
    with pytest.raises(PydanticSerializationError):
        cancelled.data()


Before = make_dataclass("Before", [("id", UUID), ("quantity", int)])


@pytest.mark.parametrize(
    "fields",
    [
        [("id", UUID)],
        [("id", UUID), ("units", int)],
        [("id", UUID), ("quantity", str)],
        [("id", str), ("quantity", int)],
        [("id", UUID), ("quantity", int | None)],
        [("id", UUID), ("quantity", int), ("title", str)],
        [("id", UUID), ("quantity", int), ("description", str)],
    ],
)
def test_a_schema_shows_a_field_that_is_added_removed_renamed_or_of_another_type(fields: list[tuple[str, Any]]) -> None:
    assert schema_of(make_dataclass("Before", fields)) != schema_of(Before)
