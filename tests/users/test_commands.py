import os
import subprocess
import sys
from uuid import UUID

import pytest

from chassis.run.testing import bearer
from services.users import commands

from .conftest import PASSWORD


def test_a_granted_role_is_in_the_next_token(register, log_in, http, make_staff, capsys):
    register()
    make_staff("Ada@Example.com", "admin")
    assert capsys.readouterr().out.startswith("ada is now admin")
    make_staff("ada@example.com", "admin")
    assert capsys.readouterr().out.startswith("ada was already admin")
    headers = {"Authorization": f"Bearer {log_in(password=PASSWORD).json['access_token']}"}
    assert http.get("/users/", headers=headers).json["items"][0]["roles"] == ["customer", "admin"]


def test_a_closed_account_loses_its_roles(register, http, users, make_staff):
    account = register()
    make_staff("ada@example.com", "admin")
    owner = bearer(users, UUID(account["id"]), "admin")
    http.delete(f"/users/{account['id']}", headers=owner)
    assert http.get(f"/users/{account['id']}", headers=owner).json["roles"] == ["customer"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--email", "eve@example.com", "--role", "admin"], "No account is registered as eve@example.com"),
        (["--email", "eve", "--role", "admin"], "is not an e-mail address"),
        (["--email", "eve@example.com", "--role", "king"], "invalid choice"),
    ],
)
def test_an_invalid_grant_is_refused_with_the_reason(users, capsys, arguments, reason):
    with pytest.raises(SystemExit) as end:
        commands.main(["staff", *arguments])
    assert reason in f"{end.value.code}{capsys.readouterr().err}"


def test_a_key_rotation_is_in_the_audit_trail(http, register, make_staff, users):
    account = register()
    make_staff("ada@example.com", "admin")
    commands.main(["keys-rotated", "souk-2"])
    headers = bearer(users, UUID(account["id"]), "admin")
    latest = http.get("/users/security-events", headers=headers).json["items"][0]
    assert (latest["kind"], latest["details"]) == ("keys.rotated", {"key_id": "souk-2", "by": "operator"})


def test_a_missing_setting_is_reported():
    command = [sys.executable, "-m", "services.users.commands", "keys-rotated", "souk-2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SOUK_")}
    environment["SOUK_REQUEST_SECRET"] = "a secret of the users service for tests"
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "SOUK_DATABASE_URL is not set" in ended.stderr
