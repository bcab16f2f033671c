"""The steps of a rotation, in any order of crashes: what is in use is accepted by everyone."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operators.keyring import rotation
from operators.keyring.rotation import Keys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CALLERS = {"users": ("orders",), "orders": ("users",), "products": ("orders",)}


def first() -> Keys:
    return {
        "jwt": [rotation.new_jwt_key("EdDSA", NOW)],
        "api": {name: [rotation.new_api_key()] for name in CALLERS},
    }


def files(keys: Keys) -> dict[str, Any]:
    return {name: rotation.file_of(name, keys, CALLERS) for name in (*CALLERS, "gateway")}


def test_an_added_key_is_known_and_not_used() -> None:
    before = first()
    keys = rotation.add(before, "EdDSA", NOW)
    new = rotation.added(keys)
    assert new
    assert not rotation.added(before)
    for file in files(keys).values():
        assert list(file["jwt_keys"]) == [before["jwt"][0]["id"], new]
    assert files(keys)["users"]["api_key"] == files(before)["users"]["api_key"]
    assert len(files(keys)["orders"]["api_callers"]["users"]) == 2


def test_a_key_that_signs_is_first_and_old_ones_end_with_what_they_signed() -> None:
    added = rotation.add(first(), "EdDSA", NOW)
    keys = rotation.sign(added, NOW)
    assert [key["id"] for key in keys["jwt"]] == [rotation.added(added), added["jwt"][0]["id"]]
    assert not rotation.added(keys)
    for minutes, left in ((15, 2), (17, 1)):
        assert len(rotation.without_expired(keys, NOW + timedelta(minutes=minutes))["jwt"]) == left
    assert rotation.without_expired(keys, NOW + timedelta(days=365))["jwt"] == keys["jwt"][:1]


def test_a_stolen_key_ends_at_once() -> None:
    keys = rotation.sign(rotation.add(first(), "EdDSA", NOW), NOW, drop_old=True)
    assert len(rotation.without_expired(keys, NOW + timedelta(seconds=1))["jwt"]) == 1


@given(st.lists(st.tuples(st.sampled_from(["add", "sign", "retire"]), st.integers(0, 20)), max_size=12))
def test_some_key_is_in_use_always_and_an_earlier_step_accepts_it(steps: list[tuple[str, int]]) -> None:
    keys, now = first(), NOW
    for step, minutes in steps:
        now += timedelta(minutes=minutes)
        before = keys
        match step:
            case "add":
                keys = rotation.add(keys, "HS256", now)
            case "sign" if rotation.added(keys):
                keys = rotation.sign(keys, now)
            case _:
                keys = rotation.without_expired(keys, now)
        assert keys["jwt"][0]["id"] in {key["id"] for key in before["jwt"]}
        for name, own in keys["api"].items():
            assert own[0]["material"] in {key["material"] for key in before["api"][name]}
