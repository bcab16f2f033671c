"""A sidecar's settings: every missing or invalid one is reported."""

import pytest

from services.sidecar import settings

REQUIRED = {
    "SOUK_SERVICE": "users",
    "SOUK_INSTANCE": "users-web",
    "SOUK_INSTANCE_URL": "http://127.0.0.1:8001/",
    "SOUK_CONSUL_URL": "https://consul.internal",
}


def test_four_settings_are_required() -> None:
    read = settings.read(REQUIRED)
    assert (read.instance_url, read.address, read.heartbeat_seconds) == (
        "http://127.0.0.1:8001",
        ("127.0.0.1", 8001),
        1.0,
    )
    assert settings.read({**REQUIRED, "SOUK_INSTANCE_URL": "https://users"}).address == ("users", 443)


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("SOUK_SERVICE", "", "is required"),
        ("SOUK_CONSUL_URL", "127.0.0.1:8500", "must be http(s)://host:port"),
        ("SOUK_INSTANCE_URL", "http://127.0.0.1:99999", "Port out of range"),
        ("SOUK_WEIGHT", "many", "must be a number"),
        ("SOUK_HEARTBEAT_SECONDS", "0", "must be at least 0.05"),
        ("SOUK_TTL_SECONDS", "nan", "must be at least 1"),
    ],
)
def test_an_invalid_setting_is_reported(
    variable: str, value: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        settings.read({**REQUIRED, variable: value})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{variable}: ")
    assert error in line


def test_all_errors_are_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.read({"SOUK_PORT": "-1"})
    assert len(capsys.readouterr().err.splitlines()) == 5
