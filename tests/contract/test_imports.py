"""Memory is paid per process: each imports only what it runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.manifests import WITH_POSTGRES

REPOSITORY = Path(__file__).parents[2]

SQL = {"alembic", "psycopg2", "sqlalchemy"}
WEB = {"flask", "granian"}
QUEUES = {"celery", "kombu"}


@pytest.mark.parametrize(
    ("service", "command", "spared"),
    [
        ("products", "web", SQL | QUEUES),
        ("products", "worker", SQL | WEB | {"celery"}),
        ("orders", "web", QUEUES | {"alembic", "mongoengine"}),
        *[(service, "worker", WEB | {"alembic", "mongoengine"}) for service in WITH_POSTGRES],
    ],
)
def test_a_process_holds_nothing_that_it_does_not_run(service: str, command: str, spared: set[str]) -> None:
    entry = {"web": "chassis.run.web_app", "worker": "chassis.run.worker"}[command]
    program = f"""
import sys
import {entry}
import services.{service}.app
{f"import services.{service}.api.routes" if command == "web" else ""}
print(*sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not spared & set(run.stdout.split())
