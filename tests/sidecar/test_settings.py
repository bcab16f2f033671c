"""What a sidecar is told: enough, and in a form that makes sense, or it ends with a line for each fault."""

import pytest

from services.sidecar import settings

ENOUGH = {
    "SOUK_SERVICE": "users",
    "SOUK_INSTANCE": "users-web",
    "SOUK_INSTANCE_URL": "http://127.0.0.1:8001/",
    "SOUK_CONSUL_URL": "https://consul.internal",
}


def test_four_values_are_enough() -> None:
    told = settings.read(ENOUGH)
    assert (told.instance_url, told.address, told.beat_seconds) == ("http://127.0.0.1:8001", ("127.0.0.1", 8001), 1.0)
    assert settings.read({**ENOUGH, "SOUK_INSTANCE_URL": "https://users"}).address == ("users", 443)


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("SOUK_SERVICE", "", "a sidecar needs it"),
        ("SOUK_CONSUL_URL", "127.0.0.1:8500", "is no http(s)://host:port"),
        ("SOUK_INSTANCE_URL", "http://127.0.0.1:99999", "Port out of range"),
        ("SOUK_WEIGHT", "many", "is no number"),
        ("SOUK_BEAT_SECONDS", "0", "must be at least 0.05"),
        ("SOUK_TTL_SECONDS", "nan", "must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(variable: str, value: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.read({**ENOUGH, variable: value})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{variable}: ")
    assert fault in line


def test_all_faults_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.read({"SOUK_PORT": "-1"})
    assert len(capsys.readouterr().err.splitlines()) == 5
