"""Invalid settings stop the process by name."""

import pytest

from services.notifications.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOUK_SMTP_URL", "http://mail.example"),
        ("SOUK_SMTP_URL", "smtp://"),
        ("SOUK_SMTP_URL", "smtp://mail.example:many"),
        ("SOUK_MAIL_FROM", "Souk"),
        ("SOUK_MAIL_FROM", "Souk <orders@souk.example>\nBcc: all@example.com"),
        ("SOUK_SMTP_TIMEOUT_SECONDS", "0"),
        ("SOUK_ATTEMPT_SECONDS", "0"),
    ],
)
def test_an_invalid_setting_stops_the_process_by_name(monkeypatch, capsys, name, value):
    class Fresh(Settings):
        """A fresh class, as each reads its settings once."""

    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        Fresh.current()
    assert capsys.readouterr().err.startswith(f"{name}: ")


def test_the_mail_servers_password_is_not_shown_with_the_settings():
    assert "hunter2" not in repr(Settings(smtp_url="smtps://souk:hunter2@mail.example"))
