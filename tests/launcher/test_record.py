"""docs/performance.md keeps the last result of each benchmark."""

from bench._record import with_section

MACHINE = "## The machine\n\n2 cores.\n"


def section(command: str, printed: str) -> str:
    return f"## ./souk bench {command}\n\n```text\n{printed}\n```\n"


def test_a_result_replaces_the_one_before_and_leaves_the_others() -> None:
    document = ""
    for command, printed in (("users --rate 50", "first"), ("api", "other"), ("users", "second"), ("user", "third")):
        document = with_section(document, MACHINE, section(command, printed))
    assert document.count(MACHINE) == 1
    headings = [line for line in document.splitlines() if line.startswith("## ")]
    assert headings == ["## The machine", "## ./souk bench api", "## ./souk bench user", "## ./souk bench users"]
    assert "first" not in document
    assert document.endswith(section("users", "second"))
