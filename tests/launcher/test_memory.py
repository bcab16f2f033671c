import subprocess
import sys

from launcher import memory

HUNGRY = "x = bytearray(60_000_000); print(flush=True); input()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HUNGRY!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_a_program_counts_with_its_children_and_without_other_programs():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        child = int(parent.stdout.readline())
        together = memory.by_program({"parent": parent.pid})["parent"]
        apart = memory.by_program({"parent": parent.pid, "child": child})
        parent.stdin.close()
    assert apart["child"] > 50_000_000
    assert together > apart["parent"] + 50_000_000


def test_a_program_that_has_exited_takes_no_memory():
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert memory.by_program({"gone": gone.pid, "never": 0}) == {"gone": 0}
