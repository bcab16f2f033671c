import os
import subprocess
import sys

from launcher import memory


def test_a_program_counts_with_its_children_and_without_other_programs():
    hungry = "x = bytearray(60_000_000); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", hungry], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()
        together = memory.by_program({"tests": os.getpid()})["tests"]
        apart = memory.by_program({"tests": os.getpid(), "child": child.pid})
        assert apart["child"] > 50_000_000
        assert together > apart["tests"] + 50_000_000
    finally:
        child.communicate(b"\n", timeout=10)


def test_a_program_that_has_exited_takes_no_memory():
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert memory.by_program({"gone": gone.pid, "never": 0}) == {"gone": 0}
