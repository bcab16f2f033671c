"""Currencies that are not counted in hundredths are refused when a service starts, and named."""

import importlib

import pytest

from contracts.currencies import HUNDREDTHS, OTHERS


@pytest.mark.parametrize(
    ("service", "variable", "value", "message"),
    [
        ("orders", "SOUK_CURRENCY", "JPY", "must not be JPY, which is not counted in hundredths"),
        ("orders", "SOUK_CURRENCY", "ZZZ", "must be an ISO 4217 currency code"),
        ("payments", "SOUK_CURRENCIES", '["EUR", "KWD"]', "must not be KWD, which is not counted in hundredths"),
        ("payments", "SOUK_CURRENCIES", "[]", "must not be empty"),
    ],
)
def test_a_service_refuses_to_start_with_a_currency_it_cannot_count(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    settings = importlib.import_module(f"services.{service}.settings").Settings
    with pytest.raises(SystemExit):
        settings._read()
    assert f"{variable}: {message}" in capsys.readouterr().err


def test_every_code_is_listed_once() -> None:
    assert not HUNDREDTHS & OTHERS
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in HUNDREDTHS | OTHERS)
    assert {"EUR", "USD", "GBP", "CHF"} <= HUNDREDTHS
