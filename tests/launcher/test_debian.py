"""Debian's mirror is read from apt's files, and only the pinned package is accepted."""

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher import debian
from launcher.errors import LaunchError


def apt_folder(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        path = "sources.list" if name == "sources" else f"sources.list.d/{name.replace('_', '.')}"
        (tmp_path / path).write_text(text)
    return tmp_path


def test_the_mirror_is_found_in_either_format(tmp_path):
    one_line = (
        "# deb http://old.example/debian x main\ndeb [arch=amd64 trusted=yes] http://a.example/debian/ bookworm main\n"
    )
    deb822 = "Types: deb\nURIs: https://b.example/debian http://b.example/debian-security\nSuites: bookworm\n"
    folder = apt_folder(
        tmp_path, sources=one_line, more_sources=deb822, other_list="deb https://c.example/apt stable main\n"
    )
    assert debian.mirrors(folder) == ["http://a.example/debian", "https://b.example/debian"]


def test_without_apt_there_is_no_mirror(tmp_path):
    assert debian.mirrors(tmp_path / "nothing") == []


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only mirror's folder, configured in `tmp_path / "apt"`."""
    root = tmp_path / "archive" / "debian"
    root.mkdir(parents=True)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(root.parent))

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    apt_folder(tmp_path / "apt", sources=f"deb http://127.0.0.1:{server.server_port}/debian bookworm main\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield root
    server.shutdown()
    server.server_close()


def build(mirror: Path) -> debian.Package:
    tree = mirror.parent.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: Souk <souk@example.com>\nDescription: hello\n"
    )
    (tree / "usr").mkdir()
    (tree / "usr" / "hello").write_text("hello\n")
    archive = mirror / "hello.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, archive], check=True, capture_output=True)
    return debian.Package("hello.deb", hashlib.sha256(archive.read_bytes()).hexdigest())


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="not Debian")
def test_a_package_is_fetched_once_verified_and_unpacked(mirror, tmp_path):
    package, target = build(mirror), tmp_path / "bin" / "hello"
    debian.unpack(package, {"usr/hello": target}, tmp_path / "apt")
    assert target.read_text() == "hello\n"
    (mirror / "hello.deb").unlink()
    debian.unpack(package, {"usr/hello": target}, tmp_path / "apt")


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="not Debian")
def test_a_package_that_differs_from_the_pinned_one_is_rejected(mirror, tmp_path):
    build(mirror)
    with pytest.raises(LaunchError, match="differs from the pinned one"):
        debian.unpack(debian.Package("hello.deb", "0" * 64), {"usr/hello": tmp_path / "hello"}, tmp_path / "apt")
    assert not (tmp_path / "hello").exists()


def test_a_package_that_no_mirror_has_is_an_error(mirror, tmp_path):
    with pytest.raises(LaunchError, match=r"could not be fetched .*404"):
        debian.unpack(debian.Package("nothing.deb", "0" * 64), {"usr/hello": tmp_path / "hello"}, tmp_path / "apt")
