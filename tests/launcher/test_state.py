import stat

import pytest

from launcher import ports
from launcher.errors import LaunchError
from launcher.secrets import Secrets
from launcher.stack import Stack
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


@pytest.mark.parametrize("content", ["", '{"postgres": "abc', "[]", "null"])
def test_broken_secrets_are_refused_and_kept(state, content):
    state.write("secrets.json", content)
    with pytest.raises(LaunchError, match=r"secrets.json is broken .*: repair it"):
        Secrets(state)["postgres"]
    assert (state.path / "secrets.json").read_text() == content


@pytest.mark.parametrize("rest", [None, "{}"])
def test_lost_secrets_are_not_replaced_while_data_depends_on_them(state, rest):
    Secrets(state)["postgres"]
    state.write("data/redis/appendonly.aof", "an order")
    (state.path / "secrets.json").unlink()
    if rest is not None:
        state.write("secrets.json", rest)
    with pytest.raises(LaunchError, match=r"put it back from a backup, or delete all data with ./souk down --wipe"):
        Secrets(state)["redis"]


def test_broken_ports_are_chosen_anew(state):
    state.write("ports.json", '{"gateway": 80')
    assert ports.recorded(state) == {}


def test_a_folder_with_other_files_is_neither_used_nor_wiped(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    before = mode(tmp_path)
    foreign = StateFolder(tmp_path)
    with pytest.raises(LaunchError, match="files that are not Souk's"):
        foreign.make()
    with pytest.raises(LaunchError, match="files that are not Souk's"):
        Stack(tmp_path).down(wipe=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert mode(tmp_path) == before


def test_a_full_disk_is_reported_at_once(state):
    state.ensure_room(min_bytes=1)
    with pytest.raises(LaunchError, match="free some space"):
        state.ensure_room(min_bytes=10**18)
