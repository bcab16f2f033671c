"""The environment of real Kong."""

from pathlib import Path

from launcher.kong import environment
from launcher.state import REPOSITORY


def test_every_variable_is_explained() -> None:
    page = (REPOSITORY / "docs" / "kong.md").read_text()
    named = environment(Path("kong.yml"), "0.0.0.0:80", "127.0.0.1:8600", "10.0.0.0/8")
    assert [name for name in named if name not in page] == []


def test_only_the_proxy_listens_beyond_this_machine() -> None:
    listening = {
        name: value for name, value in environment(Path("kong.yml"), "0.0.0.0:80", "", "").items() if "LISTEN" in name
    }
    assert listening.pop("KONG_PROXY_LISTEN") == "0.0.0.0:80"
    assert listening == {
        "KONG_ADMIN_LISTEN": "off",
        "KONG_ADMIN_GUI_LISTEN": "off",
        "KONG_STATUS_LISTEN": "127.0.0.1:8100",
    }


def test_a_restarted_instance_is_found_within_seconds() -> None:
    named = environment(Path("kong.yml"), "0.0.0.0:80", "127.0.0.1:8600", "")
    assert (named["KONG_DNS_STALE_TTL"], named["KONG_DNS_NOT_FOUND_TTL"], named["KONG_DNS_ERROR_TTL"]) == (
        "0",
        "1",
        "1",
    )
    assert not any("DNS" in name for name in environment(Path("kong.yml"), "0.0.0.0:80", "", ""))


def test_nothing_that_kong_logs_has_urls() -> None:
    named = environment(Path("kong.yml"), "0.0.0.0:80", "", "")
    assert (named["KONG_PROXY_ACCESS_LOG"], named["KONG_LOG_LEVEL"]) == ("off", "crit")
