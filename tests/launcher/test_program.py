import subprocess
from pathlib import Path

from launcher.program import Program


def test_the_script_quotes_any_environment(state):
    nasty = "a 'quoted' $HOME \"%(here)s\" `id` \\ ü"
    program = Program("echo", ["printenv", "NASTY"], {"NASTY": nasty}, folder=Path("/"))
    program.write(state)
    script = state.programs / "echo"
    assert subprocess.run(["sh", script], capture_output=True, text=True, check=True).stdout == nasty + "\n"


def test_secrets_are_in_the_script_only_and_readable_by_the_owner_only(state):
    Program("users-web", ["true"], {"SOUK_API_KEY": "hush"}).write(state)
    assert "hush" not in (state.programs / "users-web.conf").read_text()
    assert (state.programs / "users-web").stat().st_mode & 0o077 == 0


def test_a_changed_environment_changes_the_supervisors_section(state):
    old, new = (Program("users-web", ["true"], {"SOUK_PORT": port}) for port in ("1", "2"))
    assert old.section(state) != new.section(state)
    assert old.section(state) == Program("users-web", ["true"], {"SOUK_PORT": "1"}).section(state)


def test_a_changed_configuration_file_changes_the_section_too(state):
    configuration = state.write("redis.conf", "port 1\n")
    program = Program("redis", ["true"], reads=[configuration])
    before = program.section(state)
    state.write("redis.conf", "port 2\n")
    assert program.section(state) != before
