"""What the chart knows of the code: `./souk chart generate` writes it into k8s/chart/generated/."""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from launcher import kong
from launcher.kubernetes import place
from launcher.manifests import CALLS, ROLES, SERVICES, WITH_POSTGRES
from launcher.stack import Stack
from launcher.state import REPOSITORY

CHART = REPOSITORY / "k8s" / "chart"
GENERATED = CHART / "generated"

SERVERS = {
    "SOUK_DATABASE_URL": "postgres",
    "SOUK_MONGO_URL": "mongo",
    "SOUK_REDIS_URL": "redis",
    "SOUK_CACHE_URL": "redis-cache",
    "SOUK_BROKER_URL": "rabbitmq",
}
"""The server that a program reaches by each setting."""

KONG_FILE = Path("/run/souk/kong/kong.yml")


def write() -> list[Path]:
    GENERATED.mkdir(exist_ok=True)
    for name, content in files().items():
        (GENERATED / name).write_text(content)
    return [GENERATED / name for name in files()]


def files() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        stack = place.stack(Path(folder), {})
        content = {"services.json": programs(stack), "rules.json": rules()}
    return {name: json.dumps(each, indent=2, sort_keys=True) + "\n" for name, each in content.items()}


def programs(stack: Stack) -> dict[str, Any]:
    """services, console: {service: {role: servers and services that it reaches}}."""
    services: dict[str, dict[str, Any]] = {name: {} for name in SERVICES}
    for program, service in ROLES.items():
        role = program.removeprefix(f"{service}-")
        if role != "sidecar":
            own = ["SOUK_DATABASE_URL" if service in WITH_POSTGRES else "SOUK_MONGO_URL"]
            services[service][role] = {
                "servers": servers([*own, *stack.credentials(program)]),
                "calls": list(SERVICES[service].calls.get(role, ())),
                "outside": _stand_ins(service) if role == "celery" else [],
            }
    return {
        "services": services,
        "console": {"web": {"servers": [], "calls": CALLS["console"], "outside": []}},
        "edge": {"servers": servers(stack.credentials("gateway"))},
        "kong": kong_environment(),
    }


def servers(variables: Sequence[str] | Any) -> list[str]:
    return sorted({SERVERS[name] for name in variables if name in SERVERS})


def rules() -> dict[str, Any]:
    """By file in monitoring/rules/."""
    return {
        path.stem: yaml.safe_load(path.read_text()) for path in sorted((REPOSITORY / "monitoring/rules").glob("*.yml"))
    }


def kong_environment() -> dict[str, str]:
    """Without a name server: Kong uses the cluster's."""
    found = kong.environment(KONG_FILE, "0.0.0.0:8000", "the cluster's", "")
    del found["KONG_DNS_RESOLVER"]
    return found | {
        # For Prometheus and probes. It can change nothing.
        "KONG_STATUS_LISTEN": "0.0.0.0:8100",
        # By default SRV comes first: the weights of a cluster's records would replace a Canary's.
        "KONG_DNS_ORDER": "LAST,A,CNAME",
        # A stopped instance is not called for long.
        "KONG_DNS_VALID_TTL": "2",
        # For the container beside it only, which brings new keys.
        "KONG_ADMIN_LISTEN": "127.0.0.1:8001",
    }


def _stand_ins(service: str) -> list[str]:
    """Development servers in place of third parties, that the manifest's settings name."""
    named = re.findall(r"\{address\[(\w+)", " ".join(SERVICES[service].settings.values()))
    return sorted({*named} - {"gateway"})
