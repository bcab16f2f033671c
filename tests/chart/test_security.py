"""What programs in the cluster may do, and whom they may reach."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from launcher.errors import LaunchError
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.kubernetes.place import HOSTS, PORTS
from launcher.manifests import ROLES, SERVICES
from tests.chart.conftest import KIND, VARIANTS, Object, Render, containers, of, pods

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)

VOLUMES = {"emptyDir", "secret", "configMap", "persistentVolumeClaim", "projected", "downwardAPI"}
"""What PodSecurity `restricted` allows, among others."""


@every_variant
def test_pods_are_restricted(render: Render, variant: tuple[str, ...]) -> None:
    for name, pod in pods(render(*variant)).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0
        # Else PostgreSQL and RabbitMQ refuse their own files, which the group may read after a restart.
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= VOLUMES
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


@every_variant
def test_memory_is_limited_and_asked_for(render: Render, variant: tuple[str, ...]) -> None:
    for name, pod in pods(render(*variant)).items():
        for container in containers(pod):
            assert container["resources"]["limits"]["memory"], name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name


@every_variant
def test_only_programs_that_look_for_upstreams_may_ask_the_api_server(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    callers = {f"{service}-{role}" for service, manifest in SERVICES.items() for role in manifest.calls} | {
        "console-web"
    }
    watching = callers if "discovery=kubernetes" in variant else set()
    assert {name for name, pod in pods(objects).items() if pod["spec"]["automountServiceAccountToken"]} == watching
    bound = {subject["name"] for each in of(objects, "RoleBinding").values() for subject in each["subjects"]}
    assert bound == watching
    for role in of(objects, "Role").values():
        assert role["rules"] == [
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
        ]
    assert not of(objects, "ClusterRole")


# --- NetworkPolicies


def matching(selector: Object, labels: Mapping[str, Mapping[str, str]]) -> set[str]:
    wanted = selector.get("matchLabels", {})
    listed = selector.get("matchExpressions", [])
    return {
        name
        for name, own in labels.items()
        if wanted.items() <= own.items()
        and all((own.get(each["key"]) in each["values"]) == (each["operator"] == "In") for each in listed)
    }


def allowed(objects: list[Object], direction: str, peers: str) -> set[tuple[str, str]]:
    """Pairs of workload and peer, both of them pods here."""
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}
    found = set()
    for policy in of(objects, "NetworkPolicy").values():
        own = matching(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get(direction, []):
            for peer in rule.get(peers, [{}]):
                if "namespaceSelector" not in peer and "ipBlock" not in peer:
                    others = matching(peer.get("podSelector", {}), labels)
                    found |= {(one, other) for one in own for other in others}
    return found


@every_variant
def test_policies_name_no_port_of_an_init_container(render: Render, variant: tuple[str, ...]) -> None:
    """Network plugins do not look for names there."""
    objects = render(
        *variant, "operators.enabled=true", "operators.image=souk:1", "operators.metricsUrl=http://metrics"
    )
    ports = {
        port["name"]
        for pod in pods(objects).values()
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
    }
    named = {
        port["port"]
        for policy in of(objects, "NetworkPolicy").values()
        for rule in (*policy["spec"].get("ingress", []), *policy["spec"].get("egress", []))
        for port in rule.get("ports", [])
        if isinstance(port["port"], str)
    }
    assert named <= ports


def needed(objects: list[Object], contents: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str]]:
    """From the addresses in programs' settings, and the services that they call."""
    found = set()
    for name, pod in pods(objects).items():
        for container in containers(pod):
            values = [each.get("value", "") for each in container.get("env", []) if each["name"] != "SOUK_PUBLIC_URL"]
            for secret in container.get("envFrom", []):
                values += contents[secret["secretRef"]["name"]].values()
            hosts = {urlsplit(value).hostname for value in values if "://" in value and not value.startswith("{")}
            found |= {(name, host) for host in hosts if host in HOSTS.values()}
        if name in ROLES:
            service = ROLES[name]
            role = name.removeprefix(f"{service}-")
            found |= {(name, f"{callee}-web") for callee in SERVICES[service].calls.get(role, ())}
            # Third parties are Celery's, though other programs know their addresses.
            if role != "celery":
                found -= {(name, "mailbox"), (name, "bank")}
            # Looked for only by those that call, and by sidecars.
            if role != "web" and not SERVICES[service].calls.get(role):
                found -= {(name, "consul")}
        # A link for the browser.
        found -= {("console-web", "mailbox")}
    webs = {f"{service}-web" for service in SERVICES}
    edge = {("gateway", web) for web in (*webs, "console-web")}
    return found | edge | {(caller, web) for web in webs for caller in ("consul", "console-web")}


def test_programs_reach_exactly_what_they_need(render: Render, contents: Mapping[str, Mapping[str, str]]) -> None:
    objects = render(*KIND)
    out = allowed(objects, "egress", "to")
    into = {(caller, callee) for callee, caller in allowed(objects, "ingress", "from")}
    # The edge is the public's.
    assert out - into == set()
    jobs = set(of(objects, "Job"))
    passing = {(one, other) for one, other in out & into if one not in jobs}
    assert passing == {(one, other) for one, other in needed(objects, contents) if one not in jobs}
    for job in jobs:
        assert {other for one, other in out & into if one == job} <= {"postgres", "mongo", "consul"}


@every_variant
def test_only_the_edge_is_open_to_everybody(render: Render, variant: tuple[str, ...]) -> None:
    for name, policy in of(render(*variant), "NetworkPolicy").items():
        is_open = [rule for rule in policy["spec"].get("ingress", []) if not rule.get("from")]
        assert is_open == ([{"ports": [{"port": "http"}]}] if name == "gateway" else []), name
        for rule in policy["spec"].get("egress", []):
            assert rule.get("to"), name
            assert rule.get("ports"), name


def test_every_pod_has_a_policy(render: Render) -> None:
    objects = render(*KIND)
    everything = of(objects, "NetworkPolicy")["nothing-else"]["spec"]
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}
    assert matching(everything["podSelector"], labels) == set(labels)


def test_an_external_consul_may_check_services_from_its_networks(render: Render) -> None:
    options = ("values/production.yaml", "external.consul.networks={10.77.0.0/24}", "external.consul.port=8501")
    policies = of(render(*options), "NetworkPolicy")
    peer = {"ipBlock": {"cidr": "10.77.0.0/24"}}
    checked = {
        name
        for name, policy in policies.items()
        for rule in policy["spec"].get("ingress", [])
        if peer in rule.get("from", []) and rule["ports"] == [{"port": "http"}]
    }
    assert checked == {f"{service}-web" for service in SERVICES}
    policies = of(render(*options, "discovery=kubernetes"), "NetworkPolicy")
    assert not [
        name for name, policy in policies.items() if peer in policy["spec"].get("ingress", [{}])[0].get("from", [])
    ]


def test_the_api_server_is_reached_where_it_is(render: Render) -> None:
    options = ("discovery=kubernetes", "networkPolicies.apiServer.networks={172.20.0.1/32}")
    policies = of(render(*KIND, *options), "NetworkPolicy")
    rule = {"to": [{"ipBlock": {"cidr": "172.20.0.1/32"}}], "ports": [{"port": 443}, {"port": 6443}]}
    found = {name for name, policy in policies.items() if rule in policy["spec"].get("egress", [])}
    callers = {f"{service}-{role}" for service, manifest in SERVICES.items() for role in manifest.calls}
    assert found == callers | {"console-web"}


# --- values.schema.json


@pytest.mark.parametrize(
    "wrong",
    [
        "edge=nginx",
        "discovery=zookeeper",
        "environment=staging",
        "web.replicas=0",
        "web.replica=2",
        "image.pullPolicy=Sometimes",
        "settings.users.threads=8",
        "podNetworks={everywhere}",
        "external.postgres.networks={10.0.0.0/8}",
        "consul.url=consul:8500",
        "servers.postgres.ports.postgres=0",
        "drainSeconds=0",
        "kong.workers=0",
        "console.url=there",
        "imagePullSecrets[0].names=registry",
        "web.resources.limits.memroy=1Gi",
        "networkPolicies.apiServer.networks={}",
        "unknown=1",
    ],
)
def test_wrong_values_are_refused(run_helm: Helm, wrong: str) -> None:
    with pytest.raises(LaunchError) as refused:
        run_helm("template", "souk", CHART, "--values", CHART / "values/kind.yaml", "--set", wrong)
    assert "values don't meet the specifications of the schema" in " ".join(refused.value.last_lines)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("settings.payment.SOUK_PROVIDER=stripe", "settings.payment: there is no such program"),
        ("graceSeconds=24", "graceSeconds: must be at least drainSeconds + 20"),
        ("ingress.enabled=true,ingress.host=shop.example.com", "ingress.networks: is required"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(run_helm: Helm, wrong: str, reason: str) -> None:
    with pytest.raises(LaunchError) as refused:
        run_helm("template", "souk", CHART, "--values", CHART / "values/kind.yaml", "--set", wrong)
    assert reason in " ".join(refused.value.last_lines)


def test_a_server_that_is_nowhere_is_named(run_helm: Helm) -> None:
    with pytest.raises(LaunchError) as refused:
        run_helm("template", "souk", CHART)
    assert "is neither in servers nor in external" in " ".join(refused.value.last_lines)


@pytest.mark.parametrize("values", ["kind", "production"])
def test_helm_finds_nothing_to_complain_of(run_helm: Helm, values: str) -> None:
    run_helm("lint", "--strict", CHART, "--values", CHART / f"values/{values}.yaml")


def test_prometheus_alone_reads_rabbitmqs_figures(render: Render) -> None:
    objects = render(*KIND, "monitoring.podMonitor=true")
    [monitor] = of(objects, "PodMonitor").values()
    paths = {each["path"] for each in monitor["spec"]["podMetricsEndpoints"] if each["port"] == "metrics"}
    assert paths == {"/metrics", "/metrics/detailed"}
    [container] = pods(objects)["rabbitmq"]["spec"]["containers"]
    assert {"name": "metrics", "containerPort": PORTS["rabbitmq-metrics"]} in container["ports"]
    rules = of(objects, "NetworkPolicy")["rabbitmq"]["spec"]["ingress"]
    [rule] = [each for each in rules if {"port": "metrics"} in each["ports"]]
    name = {"kubernetes.io/metadata.name": "monitoring"}
    assert rule == {"from": [{"namespaceSelector": {"matchLabels": name}}], "ports": [{"port": "metrics"}]}
