"""The whole platform for Docker's compose: compose.yaml, from the chart's list of programs and servers, and its secrets."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from launcher.kubernetes import chart, secrets
from launcher.services import version
from launcher.stack import Stack
from launcher.state import REPOSITORY

FILE = REPOSITORY / "compose.yaml"
FOLDER = "${SOUK_STATE_DIR:-./.souk}/compose"
"""Of the secrets."""

INTRODUCTION = """\
# The whole platform, from official images. Written by `./souk compose generate`; do not edit.
#
#   ./souk compose secrets && docker compose up --build --wait
#
# Shop http://127.0.0.1:8000, mails http://127.0.0.1:8025, dashboards, logs and traces http://127.0.0.1:3000.
"""

USER = 10001
"""As in the Dockerfile."""

OBSERVING = {
    "prometheus": "prom/prometheus:v3.5.0",
    "loki": "grafana/loki:3.5.0",
    "tempo": "grafana/tempo:2.8.1",
    "alloy": "grafana/alloy:v1.9.1",
    "grafana": "grafana/grafana:12.1.0",
}

READY = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/ready', timeout=3)"

HEALTHY = {
    "postgres": "pg_isready --quiet --host=127.0.0.1",
    # While it makes its users it listens on loopback only.
    "mongo": "mongosh --quiet --host=$$(hostname -i) --eval 'db.hello()'",
}

Service = dict[str, Any]


def write_secrets(stack: Stack, folder: Path) -> None:
    """A file with each program's environment, and a folder for each server. Containers' users read them; `.souk/` keeps out others."""
    stack.services.keys.ensure()
    for name, content in secrets.contents(stack).items():
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in content.items() if key.isupper()}
        (folder / f"{name}.env").write_text("".join(f"{key}='{value}'\n" for key, value in environment.items()))
        for key, value in content.items():
            (own / key).write_text(value)


def text(programs: Mapping[str, Any]) -> str:
    """programs: as chart.programs() lists them."""
    values = yaml.safe_load((chart.CHART / "values/kind.yaml").read_text())
    services = dict(
        [
            *_servers(values["servers"]),
            *_programs(programs, values["settings"]),
            *_edge(programs),
            *_observing(),
        ]
    )
    volumes = {volume.partition(":")[0] for each in services.values() for volume in each.get("volumes", [])}
    named: dict[str, Service] = {name: {} for name in sorted(volumes) if name[0].isalpha()}
    content = {"name": "souk", "services": services, "volumes": named, "configs": _configs(programs)}
    return INTRODUCTION + yaml.dump(content, sort_keys=False, default_flow_style=None, width=140)


# --- inside


def _servers(servers: Mapping[str, Any]) -> Iterator[tuple[str, Service]]:
    users = {name: server.get("user", USER) for name, server in servers.items()} | {"kong": USER}
    chowned = " && ".join(f"chown {user} /volumes/{name}" for name, user in users.items())
    mounted = [f"{name}:/volumes/{name}" for name in users]
    yield (
        "volumes",
        {"image": servers["redis"]["image"], "user": "0", "entrypoint": ["sh", "-ec", chowned], "volumes": mounted},
    )
    for name, server in servers.items():
        image = {"image": server["image"]} if "image" in server else _image()
        yield (
            name,
            {
                **image,
                "user": str(server.get("user", USER)),
                "entrypoint": _escaped(server["command"]),
                "environment": {"POD_IP": "0.0.0.0"} | server.get("environment", {}) | _overrides(name),  # noqa: S104
                **({"env_file": [f"{FOLDER}/{name}.env"]} if server.get("secretEnvironment") else {}),
                "volumes": [
                    f"{name}:/data",
                    f"{FOLDER}/{name}:/etc/souk:ro",
                    *([f"{FOLDER}/{name}:{server['initScripts']}:ro"] if "initScripts" in server else []),
                ],
                **({"ports": ["127.0.0.1:8025:8025"]} if name == "mailbox" else {}),
                **({"healthcheck": _check(["CMD-SHELL", HEALTHY[name]])} if name in HEALTHY else {}),
                "depends_on": _after({"volumes": "completed_successfully"}),
                "restart": "unless-stopped",
            },
        )
        if "afterStart" in server:
            yield (
                f"{name}-tokens",
                {
                    "image": server["image"],
                    "entrypoint": server["afterStart"],
                    "environment": {"CONSUL_HTTP_ADDR": f"http://{name}:8500"},
                    "volumes": [f"{FOLDER}/{name}:/etc/souk:ro"],
                    "depends_on": _after({name: "started"}),
                    "restart": "on-failure",
                },
            )


def _escaped(command: list[str]) -> list[str]:
    """`$(POD_IP)` is Kubernetes', and a single $ compose's."""
    if any("$(POD_IP)" in part for part in command):
        return ["sh", "-ec", f"exec {' '.join(command)}".replace("$(POD_IP)", "$$(hostname -i)")]
    return [part.replace("$", "$$") for part in command]


def _overrides(server: str) -> dict[str, str]:
    return {"SOUK_BANK_WEBHOOK_URL": "http://gateway:8000/payments/webhooks/sandbox"} if server == "bank" else {}


def _image() -> Service:
    return {"image": f"souk:{version()}", "build": "."}


def _check(test: list[str]) -> Service:
    return {"test": test, "interval": "5s", "timeout": "5s", "retries": 12, "start_period": "90s"}


def _environment() -> dict[str, str]:
    return {
        "SOUK_ENVIRONMENT": "development",
        "SOUK_HOST": "0.0.0.0",  # noqa: S104 - a container's
        "SOUK_PORT": "8080",
        "SOUK_VERSION": version(),
        "SOUK_TRUSTED_PROXIES": '["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]',
        "SOUK_OTLP_URL": "http://tempo:4318",
    }


def _ours(name: str, command: list[str], environment: Mapping[str, str], after: Mapping[str, str]) -> Service:
    return {
        **_image(),
        "command": ["python", "-m", *command],
        "environment": dict(environment),
        "env_file": [f"{FOLDER}/{name}.env"],
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - a container's
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "depends_on": _after(after),
    }


def _after(conditions: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"condition": f"service_{condition}"} for name, condition in conditions.items()}


def _programs(programs: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, Service]]:
    everything = {**programs["services"], "console": programs["console"]}
    for service, roles in everything.items():
        common = {**_environment(), **settings.get(service, {}), "SOUK_CONSUL_URL": "http://consul:8500"}
        is_console = service == "console"
        keys = [] if is_console else [f"{FOLDER}/{service}-keys:/run/souk/keys:ro"]
        if keys:
            common["SOUK_KEYS_FILE"] = "/run/souk/keys/keys.json"
            migrate = ["chassis", "migrate", f"services.{service}"]
            database = "mongo" if "mongo" in roles["web"]["servers"] else "postgres"
            yield (
                f"{service}-migrations",
                {
                    **_ours(f"{service}-worker", migrate, common, {database: "healthy"}),
                    "volumes": keys,
                    "restart": "on-failure",
                },
            )
        for role, about in roles.items():
            name = f"{service}-{role}"
            command = ["services.console"] if is_console else ["chassis", role, f"services.{service}"]
            after = dict.fromkeys((*about["servers"], *about["outside"]), "started")
            after |= {} if is_console else {f"{service}-migrations": "completed_successfully"}
            yield (
                name,
                {
                    **_ours(name, command, common, after),
                    **({"volumes": keys} if keys else {}),
                    "restart": "unless-stopped",
                    "stop_grace_period": "40s",
                    "healthcheck": _check(["CMD", "python", "-c", READY]),
                },
            )
            if role == "web" and not is_console:
                yield f"{service}-sidecar", _sidecar(service)
    seed = _ours(
        "products-web",
        ["services.products.commands", "seed"],
        {**_environment(), "SOUK_KEYS_FILE": "/run/souk/keys/keys.json"},
        {"products-migrations": "completed_successfully"},
    )
    yield "products-seed", {**seed, "volumes": [f"{FOLDER}/products-keys:/run/souk/keys:ro"], "restart": "on-failure"}


def _sidecar(service: str) -> Service:
    """Of the one instance: in the instance's own network it would lose its own as soon as that is replaced."""
    environment = {
        "SOUK_SERVICE": service,
        "SOUK_INSTANCE": f"{service}-web",
        "SOUK_INSTANCE_URL": f"http://{service}-web:8080",
        "SOUK_CONSUL_URL": "http://consul:8500",
        "SOUK_PORT": "8081",
        "SOUK_VERSION": version(),
    }
    after = {f"{service}-web": "started", "consul-tokens": "completed_successfully"}
    return {**_ours(f"{service}-sidecar", ["services.sidecar"], environment, after), "restart": "unless-stopped"}


def _edge(programs: Mapping[str, Any]) -> Iterator[tuple[str, Service]]:
    """Real Kong, which calls services by their names."""
    render = ["services.gateway.config.render", "kong/kong.yml", "/run/souk/kong/kong.yml"]
    environment = {
        **_environment(),
        "SOUK_KEYS_FILE": "/run/souk/keys/keys.json",
        "SOUK_SERVICES": json.dumps({name: f"http://{name}-web:8080" for name in programs["services"]}),
        "SOUK_ADMIN_PORT": "8001",
        "SOUK_EDGE_DOCS": "",
        "SOUK_EDGE_LOG": "",
        "SOUK_EDGE_CONSOLE": "console-web:8080",
        "SOUK_EDGE_STATUS": programs["kong"]["KONG_STATUS_LISTEN"].replace("0.0.0.0", "127.0.0.1"),  # noqa: S104
        "SOUK_HSTS_SECONDS": "0",
    }
    mounts = [f"{FOLDER}/gateway-keys:/run/souk/keys:ro", "kong:/run/souk/kong"]
    yield (
        "kong-file",
        {**_ours("gateway", render, environment, {"volumes": "completed_successfully"}), "volumes": mounts},
    )
    after = dict.fromkeys(("kong-file", "products-seed"), "completed_successfully")
    after |= {f"{name}-web": "started" for name in (*programs["services"], "console")}
    yield (
        "gateway",
        {
            "image": yaml.safe_load((chart.CHART / "values.yaml").read_text())["kong"]["image"],
            "environment": {**programs["kong"], "KONG_NGINX_WORKER_PROCESSES": "2"},
            "volumes": ["kong:/run/souk/kong:ro"],
            "ports": ["127.0.0.1:8000:8000"],
            "depends_on": _after(after),
            "healthcheck": _check(["CMD", "kong", "health"]),
            "restart": "unless-stopped",
        },
    )


def _observing() -> Iterator[tuple[str, Service]]:
    rules = "./monitoring/rules:/etc/prometheus/rules:ro"
    parts: dict[str, Service] = {
        "prometheus": {
            "volumes": [
                "./monitoring/prometheus.yml:/etc/prometheus/prometheus.yml:ro",
                rules,
                "prometheus:/prometheus",
            ],
            "configs": [{"source": "programs", "target": "/etc/prometheus/targets/programs.json"}],
            # The first two are the image's own.
            "command": [
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
                "--enable-feature=exemplar-storage",
            ],
        },
        "loki": {"volumes": ["loki:/loki"]},
        "tempo": {
            "command": ["-config.file=/etc/tempo.yaml"],
            "configs": [{"source": "tempo", "target": "/etc/tempo.yaml"}],
            # Its own user is not the volume's.
            "user": "0",
            "volumes": ["tempo:/var/tempo"],
        },
        "alloy": {
            "command": ["run", "--storage.path=/var/lib/alloy/data", "/etc/alloy/config.alloy"],
            "configs": [{"source": "alloy", "target": "/etc/alloy/config.alloy"}],
            "volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"],
            "depends_on": _after({"loki": "started"}),
        },
        "grafana": {
            "environment": {"GF_AUTH_ANONYMOUS_ENABLED": "true", "GF_AUTH_DISABLE_LOGIN_FORM": "true"},
            "ports": ["127.0.0.1:3000:3000"],
            "configs": [
                {"source": "datasources", "target": "/etc/grafana/provisioning/datasources/souk.yaml"},
                {"source": "dashboards", "target": "/etc/grafana/provisioning/dashboards/souk.yaml"},
            ],
            "volumes": ["./monitoring/dashboards:/var/lib/grafana/dashboards:ro"],
        },
    }
    for name, image in OBSERVING.items():
        yield name, {"image": image, **parts[name], "restart": "unless-stopped"}


def _configs(programs: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    scraped = [
        {"targets": [f"{service}-{role}:8080"], "labels": {"app": service, "program": f"{service}-{role}"}}
        for service, roles in {**programs["services"], "console": programs["console"]}.items()
        for role in roles
    ]
    sources = [
        {
            "name": "Prometheus",
            "uid": "prometheus",
            "type": "prometheus",
            "url": "http://prometheus:9090",
            "isDefault": True,
            "jsonData": {"exemplarTraceIdDestinations": [{"name": "trace_id", "datasourceUid": "tempo"}]},
        },
        {
            "name": "Loki",
            "uid": "loki",
            "type": "loki",
            "url": "http://loki:3100",
            "jsonData": {"derivedFields": [TRACE_OF_A_LINE]},
        },
        {"name": "Tempo", "uid": "tempo", "type": "tempo", "url": "http://tempo:3200"},
    ]
    provider = {"name": "souk", "type": "file", "options": {"path": "/var/lib/grafana/dashboards"}}
    tempo = {
        "server": {"http_listen_port": 3200},
        "distributor": {"receivers": {"otlp": {"protocols": {"http": {"endpoint": "0.0.0.0:4318"}}}}},
        "storage": {
            "trace": {"backend": "local", "local": {"path": "/var/tempo/traces"}, "wal": {"path": "/var/tempo/wal"}}
        },
    }
    contents = {
        "programs": json.dumps(scraped),
        "tempo": yaml.dump(tempo),
        "alloy": ALLOY,
        "datasources": yaml.dump({"apiVersion": 1, "datasources": sources}),
        "dashboards": yaml.dump({"apiVersion": 1, "providers": [provider]}),
    }
    return {name: {"content": content} for name, content in contents.items()}


TRACE_OF_A_LINE = {
    "name": "trace",
    "matcherRegex": r'"trace_id": "(\w+)"',
    "datasourceUid": "tempo",
    # Compose would put a variable of its own in place of one $, and Grafana one of its process.
    "url": "$$$${__value.raw}",
}
"""As our programs write it."""

ALLOY = """\
discovery.docker "containers" {
  host = "unix:///var/run/docker.sock"
}

discovery.relabel "services" {
  targets = discovery.docker.containers.targets

  rule {
    source_labels = ["__meta_docker_container_label_com_docker_compose_project"]
    regex         = "souk"
    action        = "keep"
  }

  rule {
    source_labels = ["__meta_docker_container_label_com_docker_compose_service"]
    target_label  = "program"
  }
}

loki.source.docker "logs" {
  host       = "unix:///var/run/docker.sock"
  targets    = discovery.relabel.services.output
  forward_to = [loki.write.loki.receiver]
}

loki.write "loki" {
  endpoint {
    url = "http://loki:3100/loki/api/v1/push"
  }
}
"""
