"""`mesh: consul|istio|linkerd`: who may call whom, as each mesh is told, and what its sidecars need."""

import json
import subprocess
from itertools import chain
from pathlib import Path

import pytest
import yaml

from launcher.errors import LaunchError
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.manifests import CALLS, ROLES, SERVICES
from tests.chart.conftest import KIND, PRODUCTION, Object, Render, containers, of, pods
from tests.chart.test_security import allowed
from tests.installation import until
from tests.kubernetes import KubernetesServer

MESHES = ("consul", "istio", "linkerd")
SETS = [(*variant, "discovery=services", f"mesh={mesh}") for variant in (KIND, PRODUCTION) for mesh in MESHES]

CONSOLE = {"console-web"}
ISTIO_API = "istio.io/api@v1.32.0"
"""Go module with the definitions of Istio's kinds."""

SECURITY = "security.istio.io/v1"

every_mesh = pytest.mark.parametrize("variant", SETS, ids=" ".join)


def mesh_of(variant: tuple[str, ...]) -> str:
    return variant[-1].removeprefix("mesh=")


def callers(objects: list[Object], mesh: str) -> dict[str, set[str]]:
    """Of each web program, the programs that the mesh lets in."""
    found: dict[str, set[str]] = {}
    if mesh == "istio":
        for name, policy in of(objects, "AuthorizationPolicy").items():
            allowing, metrics = policy["spec"]["rules"]
            assert metrics["to"] == [{"operation": {"methods": ["GET"], "paths": ["/metrics"]}}]
            principals = allowing["from"][0]["source"]["principals"]
            assert all(each.startswith("cluster.local/ns/souk/sa/") for each in principals)
            found[name] = {each.rpartition("/")[2] for each in principals}
    elif mesh == "linkerd":
        for name, policy in of(objects, "AuthorizationPolicy").items():
            assert policy["spec"]["targetRef"]["name"] == name
            [reference] = policy["spec"]["requiredAuthenticationRefs"]
            identities = of(objects, "MeshTLSAuthentication")[reference["name"]]["spec"]["identityRefs"]
            found[name] = {each["name"] for each in identities}
    else:
        for intentions in of(objects, "ServiceIntentions").values():
            *sources, last = intentions["spec"]["sources"]
            assert last == {"name": "*", "action": "deny"}
            assert {each["action"] for each in sources} == {"allow"}
            found[intentions["spec"]["destination"]["name"]] = {each["name"] for each in sources}
    return found


@every_mesh
def test_a_mesh_lets_pass_what_network_policies_do(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    found = callers(objects, mesh_of(variant))
    pairs = {(caller, callee) for callee, its in found.items() for caller in its}
    ours = {*ROLES, *CONSOLE, "gateway"}
    egress = {pair for pair in allowed(objects, "egress", "to") if {*pair} <= ours}
    ingress = {(caller, callee) for callee, caller in allowed(objects, "ingress", "from") if {caller, callee} <= ours}
    # From the monitoring's namespace and the public come no pods here.
    assert pairs == egress & ingress


def test_it_is_what_the_launchers_mesh_lets_pass(render: Render) -> None:
    for mesh in MESHES:
        found = callers(render(*KIND, "discovery=services", f"mesh={mesh}"), mesh)
        pairs = {
            (caller.partition("-")[0], callee.removesuffix("-web")) for callee, its in found.items() for caller in its
        }
        assert pairs == {(caller, callee) for caller, its in CALLS.items() for callee in its} | {("gateway", "console")}


@every_mesh
def test_callers_are_the_service_accounts_of_their_pods(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    accounts = {name: pod["spec"].get("serviceAccountName") for name, pod in pods(objects).items()}
    for caller in set(chain(*callers(objects, mesh_of(variant)).values())):
        assert accounts[caller] == caller
        # Consul's sidecar logs in with its token.
        has_token = pods(objects)[caller]["spec"]["automountServiceAccountToken"]
        assert has_token == (mesh_of(variant) == "consul")
        assert caller in of(objects, "ServiceAccount")


@every_mesh
def test_only_programs_that_call_or_are_called_get_a_sidecar(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    found = callers(objects, mesh_of(variant))
    with_sidecar = set()
    for name, pod in pods(objects).items():
        metadata = pod["metadata"]
        given = {**metadata["labels"], **metadata.get("annotations", {})}
        asked = {"sidecar.istio.io/inject": "true", "linkerd.io/inject": "enabled"}
        asked["consul.hashicorp.com/connect-inject"] = "true"
        if asked.items() & given.items():
            with_sidecar.add(name)
            if mesh_of(variant) == "consul":
                # Its name in Consul must be its account's.
                assert given["consul.hashicorp.com/connect-service"] == pod["spec"]["serviceAccountName"]
    assert with_sidecar == {*found, *chain(*found.values())}
    assert not with_sidecar & {*of(objects, "Job"), *of(objects, "StatefulSet")}


@every_mesh
def test_callers_use_names_that_the_mesh_knows(render: Render, variant: tuple[str, ...]) -> None:
    objects = render(*variant)
    services = of(objects, "Service")
    for name, pod in pods(objects).items():
        assert "sidecar" not in [each["name"] for each in containers(pod)]
        if name in ROLES or name in CONSOLE:
            [main] = pod["spec"]["containers"]
            given = {each["name"]: each.get("value", "") for each in main["env"]}
            assert (given["SOUK_DISCOVERY"], "SOUK_CONSUL_URL" in given) == ("static", False)
            service, _, role = name.partition("-")
            called = SERVICES[service].calls.get(role, ()) if name in ROLES else SERVICES
            urls = {each: f"http://{each}.souk.svc.cluster.local:8080" for each in called}
            assert json.loads(given["SOUK_SERVICES"]) == urls
            assert all(services[each]["spec"]["ports"][0]["port"] == 8080 for each in called)
    if mesh_of(variant) == "consul":
        # Else Consul would not have it in the mesh.
        assert (
            services["notifications-celery"]["spec"]["selector"].items()
            <= pods(objects)["notifications-celery"]["metadata"]["labels"].items()
        )


@every_mesh
def test_servers_and_the_public_are_reached_past_the_sidecar(render: Render, variant: tuple[str, ...]) -> None:
    """A database before the sidecar has started, too, as migrations are waited for then."""
    objects = render(*variant)
    edge, web = (pods(objects)[name]["metadata"]["annotations"] for name in ("gateway", "orders-web"))
    if mesh_of(variant) == "istio":
        prefix = "traffic.sidecar.istio.io/"
        assert (edge[f"{prefix}includeInboundPorts"], web[f"{prefix}includeInboundPorts"]) == ("", "8080")
        for each in (edge, web):
            assert (each[f"{prefix}includeOutboundIPRanges"], each[f"{prefix}includeOutboundPorts"]) == ("", "8080")
        return
    prefix = {"linkerd": "config.linkerd.io/skip-", "consul": "consul.hashicorp.com/transparent-proxy-exclude-"}
    inbound, outbound = (f"{prefix[mesh_of(variant)]}{way}-ports" for way in ("inbound", "outbound"))
    assert inbound not in web
    own = {str(port["containerPort"]) for each in containers(pods(objects)["gateway"]) for port in each["ports"]}
    assert own <= {*edge[inbound].split(",")}
    assert {"5432", "6379"} <= {*web[outbound].split(",")}
    assert "8080" not in web[outbound]


@every_mesh
def test_network_policies_let_the_sidecars_speak(render: Render, variant: tuple[str, ...]) -> None:
    objects, mesh = render(*variant), mesh_of(variant)
    policies = of(objects, "NetworkPolicy")
    theirs = {"consul": ("consul", 20000), "istio": ("istio-system", None), "linkerd": ("linkerd", 4143)}
    namespace, port = theirs[mesh]
    control = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    found = callers(objects, mesh)
    for name in {*found, *chain(*found.values())}:
        assert [rule for rule in policies[name]["spec"]["egress"] if rule["to"] == [control]], name
    for name, policy in policies.items():
        rules = [*policy["spec"].get("egress", []), *policy["spec"].get("ingress", [])]
        ports = [each["port"] for rule in rules for each in rule["ports"]]
        assert (port in ports) == (port is not None and name in {*found, *chain(*found.values())}), name
    elsewhere = of(render(*variant, "networkPolicies.mesh=mesh"), "NetworkPolicy")["gateway"]
    assert "mesh" in json.dumps(elsewhere["spec"]["egress"][-1])


@pytest.mark.parametrize("mesh", MESHES)
def test_the_rules_are_the_golden_ones(run_helm: Helm, mesh: str) -> None:
    options = ["--values", CHART / "values/production.yaml", "--set", f"discovery=services,mesh={mesh}"]
    text = run_helm("template", "souk", CHART, "--namespace=souk", "--show-only=templates/mesh.yaml", *options)
    found = {f"{each['kind']} {each['metadata']['name']}": each["spec"] for each in yaml.safe_load_all(text) if each}
    golden = Path(__file__).parent / "golden" / f"mesh-{mesh}.yaml"
    # An editor's diff shows what changed; what is wanted is written anew.
    assert yaml.safe_dump(found, width=120) == golden.read_text()


def test_without_a_mesh_nothing_of_one_is_rendered(render: Render) -> None:
    text = json.dumps(render(*KIND))
    for word in ("istio", "linkerd", "consul.hashicorp.com", "mesh"):
        assert word not in text


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("mesh=istio", "mesh: needs discovery: services"),
        ("mesh=istio,discovery=services,operators.keyring.enabled=true", "ask each pod by its address"),
        (
            "mesh=istio,discovery=services,operators.enabled=true,operators.canary.strategy=Canary",
            "ask each pod by its address",
        ),
        ("mesh=cilium", "values don't meet the specifications of the schema"),
    ],
)
def test_what_does_not_fit_a_mesh_is_refused(run_helm: Helm, wrong: str, reason: str) -> None:
    with pytest.raises(LaunchError) as refused:
        run_helm("template", "souk", CHART, "--values", CHART / "values/kind.yaml", "--set", wrong)
    assert reason in " ".join(refused.value.last_lines)


# --- a real API server


@pytest.fixture(scope="module")
def definitions() -> list[Object]:
    """Istio's, as it publishes them. Linkerd's and Consul's are in no registry."""
    command = ["go", "mod", "download", "-json", ISTIO_API]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=120)
    if outcome.returncode:
        pytest.skip(f"ISTIO'S KINDS ARE NOT CHECKED: {outcome.stdout or outcome.stderr}")
    file = Path(json.loads(outcome.stdout)["Dir"]) / "kubernetes" / "customresourcedefinitions.gen.yaml"
    return [each for each in yaml.safe_load_all(file.read_text()) if each and "security" in each["spec"]["group"]]


@pytest.mark.kubernetes
def test_istios_rules_are_valid_by_its_own_definitions(
    kubernetes: KubernetesServer, definitions: list[Object], render: Render
) -> None:
    kubernetes.apply(yaml.safe_dump_all(definitions))
    kinds = {each["spec"]["names"]["kind"] for each in definitions}
    until(lambda: kinds <= {each["kind"] for each in kubernetes.request("GET", f"/apis/{SECURITY}")["resources"]})
    objects = render(*PRODUCTION, "discovery=services", "mesh=istio")
    rules = [each for each in objects if each["apiVersion"] == SECURITY]
    assert len(rules) == 2 * (len(SERVICES) + 1)
    kubernetes.apply(yaml.safe_dump_all(rules), dry_run=True)
    peers = of(rules, "PeerAuthentication")["orders-web"]
    wrong = {**peers, "spec": {**peers["spec"], "mtls": {"mode": "VERY"}}}
    with pytest.raises(Exception, match=r"spec\.mtls\.mode"):
        kubernetes.apply(yaml.safe_dump(wrong), dry_run=True)
