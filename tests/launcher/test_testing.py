from launcher import testing


def summary(statements: int, covered: int, branches: int = 0, covered_branches: int = 0) -> dict[str, dict[str, int]]:
    numbers = {"num_statements": statements, "covered_lines": covered}
    return {"summary": numbers | {"num_branches": branches, "covered_branches": covered_branches}}


def test_coverage_is_counted_by_package_in_lines_and_branches():
    files = {
        "services/users/app.py": summary(50, 50, 10, 5),
        "services/users/api/users.py": summary(40, 35),
        "chassis/storage/postgres.py": summary(10, 10),
    }
    found = testing.percentages(files)
    assert found["users"] == 90.0
    assert found["chassis"] == 100.0
    assert found["orders"] is None
    assert {"gateway", "sidecar", "notifications"} < found.keys()
