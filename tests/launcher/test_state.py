import stat

import pytest

from launcher.errors import LaunchError
from launcher.secrets import Secrets
from launcher.state import StateFolder


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_sees_the_state(state):
    Secrets(state)["postgres"]
    assert mode(state.path) == mode(state.logs) == mode(state.data) == mode(state.programs) == 0o700
    assert mode(state.path / "secrets.json") == 0o600


def test_a_secret_is_generated_once_and_kept(state):
    made = Secrets(state)["jwt-key"]
    assert len(made) >= 32
    assert Secrets(state)["jwt-key"] == made
    assert Secrets(state)["other"] != made


def test_each_installation_has_its_own_secrets_and_token(state, tmp_path):
    other = StateFolder(tmp_path / "other")
    other.make()
    assert Secrets(state)["postgres"] != Secrets(other)["postgres"]
    assert state.token != other.token


def test_the_token_survives_the_loss_of_the_folder(state):
    token = state.token
    state.wipe()
    state.make()
    assert state.token == token


def test_two_commands_do_not_run_at_once(state):
    with state.lock(), pytest.raises(LaunchError, match="is running here"), StateFolder(state.path).lock():
        pass


def test_an_invalid_file_reads_as_empty(state):
    state.write("ports.json", '{"gateway": 80')
    assert state.read_json("ports.json") == {}


def test_a_full_disk_is_reported_at_once(state):
    state.ensure_room(min_bytes=1)
    with pytest.raises(LaunchError, match="free some space"):
        state.ensure_room(min_bytes=10**18)
