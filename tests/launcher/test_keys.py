"""The keys of an installation: created once, given to services as needed, rotated without dropping a caller."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from chassis.base.settings import Settings
from chassis.security import tokens
from chassis.security.keys import InvalidKeys, Keyring
from launcher.errors import LaunchError
from launcher.keys import InstallationKeys
from launcher.secrets import Secrets
from launcher.state import StateFolder

SERVICES = ("orders", "products", "users")
CALLERS = {"orders": ("products",), "products": ("orders",), "users": ()}


@pytest.fixture
def installed(tmp_path: Path) -> InstallationKeys:
    state = StateFolder(tmp_path)
    keys = InstallationKeys(state, Secrets(state), CALLERS, verifiers=["gateway"])
    keys.ensure()
    return keys


@pytest.fixture
def service(installed: InstallationKeys) -> Callable[[str], Settings]:
    """Settings of a newly started process of the service."""
    return lambda name: Settings(keys_file=installed.file(name))


def nothing() -> None:
    """There is no edge to update."""


def api_key(installed: InstallationKeys, name: str) -> str:
    key: str = json.loads(installed.file(name).read_text())["api_key"]
    return key


def test_each_file_is_its_owners_and_holds_no_key_of_another(installed: InstallationKeys) -> None:
    for name in SERVICES:
        assert installed.file(name).stat().st_mode & 0o077 == 0
        for other in {*SERVICES} - {name}:
            assert api_key(installed, other) not in installed.file(name).read_text()


def test_a_service_accepts_the_keys_of_its_callers_only(
    installed: InstallationKeys, service: Callable[[str], Settings]
) -> None:
    assert Keyring(service("products")).caller(api_key(installed, "orders")) == "orders"
    assert Keyring(service("orders")).caller(api_key(installed, "orders")) is None
    assert Keyring(service("users")).caller(api_key(installed, "orders")) is None


def test_only_users_can_sign_a_token_by_default(
    installed: InstallationKeys, service: Callable[[str], Settings]
) -> None:
    signed = tokens.sign(uuid4(), ["customer"], service("users")).text
    for name in SERVICES:
        assert tokens.verify(signed, service(name)).roles == {"customer"}
    for name in ("orders", "products", "gateway"):
        assert "PRIVATE" not in installed.file(name).read_text()
        with pytest.raises(InvalidKeys, match="no key can sign"):
            tokens.sign(uuid4(), ["admin"], service(name))


def test_a_shared_secret_signs_where_it_is_chosen(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    keys = InstallationKeys(state, Secrets(state), CALLERS, algorithm="HS256")
    keys.ensure()
    assert [key["algorithm"] for key in keys.jwt_keys()] == ["HS256"]


def test_lost_or_broken_keys_are_not_replaced(installed: InstallationKeys, tmp_path: Path) -> None:
    file, before = tmp_path / "keys.json", installed.file("users").read_text()
    file.write_text('{"jwt": [')
    with pytest.raises(LaunchError, match=r"keys.json is broken"):
        installed.ensure()
    file.unlink()
    with pytest.raises(LaunchError, match=r"keys.json is missing"):
        installed.ensure()
    assert installed.file("users").read_text() == before


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA"])
def test_a_rotation_keeps_earlier_tokens_and_keys_valid(
    installed: InstallationKeys, service: Callable[[str], Settings], algorithm: str
) -> None:
    users, orders = service("users"), service("orders")
    before, old_key = tokens.sign(uuid4(), [], users).text, api_key(installed, "products")
    tokens.verify(before, orders)
    assert installed.rotate(algorithm, nothing) == installed.jwt_keys()[0]["id"]
    after = tokens.sign(uuid4(), [], service("users")).text
    for settings in (orders, service("orders"), service("gateway")):
        tokens.verify(before, settings)
        tokens.verify(after, settings)
    assert api_key(installed, "products") != old_key
    assert Keyring(orders).caller(api_key(installed, "products")) == "products"
    assert Keyring(orders).caller(old_key) == "products"
    if algorithm != "HS256":
        assert "PRIVATE" not in installed.file("orders").read_text()


def test_every_service_verifies_with_the_new_key_before_it_is_used(
    installed: InstallationKeys, service: Callable[[str], Settings]
) -> None:
    def update_edge() -> None:
        old, new = json.loads(installed.file("gateway").read_text())["jwt_keys"]
        assert set(Keyring(service("orders")).now().jwt) == {old, new}
        assert Keyring(service("users")).now().signing.id == old
        updates.append(new)

    updates: list[str] = []
    assert [installed.rotate("HS256", update_edge)] == updates


def test_old_keys_are_dropped_once_their_tokens_have_expired(installed: InstallationKeys) -> None:
    first = installed.jwt_keys()[0]["id"]
    now = datetime.now(UTC)
    second = installed.rotate("HS256", nothing, now=now)
    assert [key["id"] for key in installed.jwt_keys()] == [second, first]
    third = installed.rotate("HS256", nothing, now=now + timedelta(minutes=10))
    assert [key["id"] for key in installed.jwt_keys()] == [third, second, first]
    fourth = installed.rotate("HS256", nothing, now=now + timedelta(minutes=17))
    assert [key["id"] for key in installed.jwt_keys()] == [fourth, third, second]


def test_an_interrupted_rotation_changes_nothing_and_the_next_one_completes_it(
    installed: InstallationKeys, service: Callable[[str], Settings]
) -> None:
    def edge_is_unavailable() -> None:
        raise ConnectionError

    first = installed.jwt_keys()[0]["id"]
    token = tokens.sign(uuid4(), [], service("users")).text
    with pytest.raises(ConnectionError):
        installed.rotate("EdDSA", edge_is_unavailable)
    assert Keyring(service("users")).now().signing.id == first
    new = installed.rotate("EdDSA", nothing)
    assert Keyring(service("users")).now().signing.id == new
    tokens.verify(token, service("orders"))


def test_a_stolen_key_is_invalid_at_once(installed: InstallationKeys, service: Callable[[str], Settings]) -> None:
    token = tokens.sign(uuid4(), [], service("users")).text
    updates: list[list[str]] = []
    new = installed.rotate(
        "HS256",
        lambda: updates.append(list(json.loads(installed.file("gateway").read_text())["jwt_keys"])),
        drop_old=True,
    )
    assert updates[-1] == [new]
    with pytest.raises(Exception, match="unknown key"):
        tokens.verify(token, service("orders"))
