"""kong/kong.yml: which paths are open, protected or missing, and how it is rendered."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launcher.manifests import SERVICES
from services.gateway.config import configuration
from services.gateway.config.render import MissingValue, main, render, values_of, weights_of
from services.gateway.exchange.routing import Router
from services.gateway.proxy.edge import Edge
from services.gateway.settings import RenderSettings
from tests.chassis.security.test_keys import ED25519, public
from tests.gateway.conftest import Serve
from tests.gateway.documents import plugin, through
from tests.gateway.upstream import Upstream

FILE = Path(__file__).parents[3] / "kong" / "kong.yml"
UPSTREAMS = (*SERVICES, "console", "docs")
ID = "00000000-0000-4000-8000-000000000000"
TARGETS = {name: [f"{name}.test:1", f"{name}.test:2"] for name in UPSTREAMS}
SECRETS = {"k1": 'quo"te: {', "k2": "second"}
VALUES = {
    "jwt_keys": [{"key": key, "algorithm": "HS256", "secret": secret} for key, secret in SECRETS.items()],
    "targets": TARGETS,
    "partner_keys": ["partner-key"],
    "redis": {"host": "redis.test", "port": 1, "username": None, "password": 'p"w: {', "database": 0, "timeout": 250},
    "limits": {"enter": 1, "anonymous": 2, "token": 3, "partner": 4},
    "weights": {},
    "hsts_seconds": 5,
    "tls": False,
    "inside": ["X-API-Key", "X_API_Key"],
    "log_path": "/dev/stdout",
    "status": "admin.test:9",
    "operators": ["127.0.0.0/8"],
}

OPEN = [
    ("POST", "/users/register"),
    ("POST", "/users/login"),
    ("POST", "/users/token/refresh"),
    ("POST", "/users/password/forgot"),
    ("POST", "/users/password/reset"),
    ("POST", "/users/email/verify"),
    ("GET", "/users/.well-known/jwks.json"),
    ("GET", "/products/"),
    ("GET", "/products"),
    ("HEAD", "/products/"),
    ("GET", f"/products/{ID}"),
    ("GET", "/products/categories"),
    ("POST", "/payments/webhooks/sandbox"),
    ("GET", "/products/search"),
    ("GET", f"/products/{ID}/recommendations"),
    ("GET", "/products/recommendations"),
    ("GET", "/openapi.json"),
    ("GET", "/notifications/push/key"),
    ("GET", "/notifications/unsubscribe/signed.token"),
    ("POST", "/notifications/unsubscribe/signed.token"),
]
PAGES = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("POST", "/demo"),
    ("GET", "/shop"),
    ("GET", f"/shop/products/{ID}"),
    ("POST", f"/shop/basket/{ID}"),
    ("GET", "/account/login"),
    ("POST", "/account/login"),
    ("GET", f"/account/orders/{ID}/stream"),
    ("GET", "/staff"),
    ("GET", "/assets/style.css"),
    ("GET", "/docs"),
    ("GET", "/docs/"),
    ("GET", "/docs/orders"),
    ("POST", "/docs/users"),
]
CLOSED = [
    ("GET", f"/users/{ID}"),
    ("PUT", f"/users/{ID}"),
    ("DELETE", f"/users/{ID}"),
    ("GET", "/users/me"),
    ("GET", "/users/search"),
    ("GET", "/users/security-events"),
    ("POST", "/users/logout"),
    ("POST", "/users/logout/everywhere"),
    ("POST", "/users/email/verification"),
    ("PUT", "/users/me/password"),
    ("GET", f"/users/{ID}/preferences"),
    ("PUT", f"/users/{ID}/preferences"),
    ("PUT", f"/users/{ID}/roles"),
    ("GET", f"/users/{ID}/security-events"),
    ("POST", "/products/"),
    ("POST", "/products/import"),
    ("GET", "/products/export"),
    ("PUT", f"/products/{ID}"),
    ("DELETE", f"/products/{ID}"),
    ("GET", f"/products/{ID}/stock"),
    ("PUT", f"/products/{ID}/stock"),
    ("GET", f"/products/{ID}/stock-movements"),
    ("POST", f"/products/{ID}/stock-adjustments"),
    ("GET", "/orders/"),
    ("POST", "/orders/"),
    ("GET", f"/orders/{ID}"),
    ("DELETE", f"/orders/{ID}"),
    ("PUT", f"/orders/{ID}/status"),
    ("GET", f"/orders/{ID}/events"),
    ("POST", f"/orders/{ID}/refunds"),
    ("GET", "/orders/analytics"),
    ("GET", f"/orders/user/{ID}"),
    ("POST", "/payments/process"),
    ("GET", f"/payments/{ID}"),
    ("GET", f"/payments/user/{ID}"),
    ("POST", "/payments/refund"),
    ("POST", f"/payments/{ID}/capture"),
    ("POST", f"/payments/{ID}/void"),
    ("GET", f"/payments/{ID}/refunds"),
    ("GET", f"/payments/{ID}/ledger"),
    ("GET", "/payments/methods"),
    ("POST", "/payments/methods"),
    ("DELETE", f"/payments/methods/{ID}"),
    ("GET", f"/notifications/{ID}"),
    ("GET", f"/notifications/{ID}/{ID}"),
    ("GET", f"/notifications/{ID}/preferences"),
    ("PUT", f"/notifications/{ID}/preferences"),
    ("GET", f"/notifications/{ID}/devices"),
    ("POST", f"/notifications/{ID}/devices"),
    ("DELETE", f"/notifications/{ID}/devices/{ID}"),
    ("POST", "/notifications/send"),
    ("POST", "/notifications/email"),
    ("POST", "/notifications/sms"),
    ("POST", "/notifications/push"),
]
ABSENT = [
    ("PUT", "/"),
    ("GET", "/demo"),
    ("GET", "/shopping"),
    ("GET", "/shop/%2e%2e/metrics"),
    ("DELETE", "/account"),
    ("OPTIONS", "/account"),
    ("GET", "/internal/products"),
    ("POST", "/internal/stock"),
    ("GET", "/metrics"),
    ("GET", "/status"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/products/x/internal"),
    ("GET", "/products/internal%2Fx"),
    ("GET", f"/orders/{ID}%2Fevents"),
    ("GET", "/docs/../metrics"),
    ("GET", "/operations/dead-letters"),
    ("POST", "/operations/dead-letters/x/replay"),
    ("POST", f"/operations/sagas/{ID}/resume"),
    ("GET", "/docsx"),
    ("GET", "/docs/a/b"),
    ("GET", "/openapi.jsonx"),
    ("PATCH", f"/users/{ID}"),
    ("DELETE", "/products/"),
    ("GET", "/users/register/x"),
    ("GET", f"/internal/requests/{ID}"),
    ("GET", "/users/xwell-known/jwks.json"),
]


@pytest.fixture(scope="module")
def loaded() -> configuration.Configuration:
    return configuration.load(render(FILE, VALUES))


@pytest.fixture(scope="module")
def router(loaded: configuration.Configuration) -> Router:
    return Edge(loaded).router


def is_open(loaded: configuration.Configuration, router: Router, method: str, path: str) -> bool | None:
    """None when no route leads to a service."""
    match = router.match(method, path, "souk.test", lambda _: ())
    if match is None or match.service is None:
        return None
    return any(
        plugin.name == "jwt" and plugin.route == match.route.id and (plugin.config or {}).get("anonymous")
        for plugin in loaded.plugins.values()
    )


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [*[(*o, True) for o in OPEN + PAGES], *[(*c, False) for c in CLOSED], *[(*a, None) for a in ABSENT]],
)
def test_exactly_the_public_paths_are_routed_and_exactly_the_open_ones_are_open(
    loaded: configuration.Configuration, router: Router, method: str, path: str, expected: bool | None
) -> None:
    assert is_open(loaded, router, method, path) is expected


def test_every_public_path_supports_preflight(router: Router) -> None:
    for _, path in [route for route in OPEN if not route[1].startswith("/openapi")] + CLOSED:
        assert router.match("OPTIONS", path, "souk.test", lambda _: ()), path


def test_every_route_belongs_to_the_service_whose_path_it_is(
    loaded: configuration.Configuration, router: Router
) -> None:
    for method, path in OPEN + CLOSED:
        match = router.match(method, path, "souk.test", lambda _: ())
        assert match is not None
        assert match.service is not None
        assert match.service.name in (path.split("/")[1], "docs")


def test_a_token_is_required_unless_a_route_overrides_it(loaded: configuration.Configuration) -> None:
    everywhere = [plugin for plugin in loaded.plugins.values() if plugin.name == "jwt" and plugin.route is None]
    assert [plugin.service for plugin in everywhere] == [None]
    assert all("anonymous" not in (plugin.config or {}) for plugin in everywhere)


def test_every_page_belongs_to_the_console(router: Router) -> None:
    for method, path in PAGES:
        match = router.match(method, path, "souk.test", lambda _: ())
        assert match is not None
        assert match.service is not None
        assert match.service.name == "console"


def test_every_service_and_the_console_have_routes() -> None:
    assert {path.stem for path in FILE.parent.glob("routes/*.yml")} == {*SERVICES, "console"}


def test_keys_and_addresses_come_from_the_installation(loaded: configuration.Configuration) -> None:
    assert {secret.key: secret.secret for secret in loaded.jwt_secrets.values()} == SECRETS
    assert {target.target for target in loaded.targets.values()} == {a for group in TARGETS.values() for a in group}


def test_a_key_pair_is_rendered_as_its_public_key() -> None:
    pair = {"key": "pair", "algorithm": "EdDSA", "public_key": public(ED25519)}
    secret = {"key": "k", "algorithm": "HS256", "secret": "s" * 32}
    loaded = configuration.load(render(FILE, {**VALUES, "jwt_keys": [pair, secret]}))
    keys = {each.key: (each.algorithm, each.rsa_public_key, each.secret) for each in loaded.jwt_secrets.values()}
    assert keys == {"pair": ("EdDSA", public(ED25519), None), "k": ("HS256", None, "s" * 32)}


@pytest.mark.parametrize(
    "missing", ["jwt_keys", "targets", "weights", "redis", "limits", "partner_keys", "hsts_seconds"]
)
def test_a_missing_value_is_named(missing: str) -> None:
    with pytest.raises(MissingValue, match=missing):
        render(FILE, {name: value for name, value in VALUES.items() if name != missing})


def test_an_upstream_without_addresses_is_reported() -> None:
    targets = {name: addresses for name, addresses in TARGETS.items() if name != "orders"}
    with pytest.raises(MissingValue, match="orders"):
        render(FILE, {**VALUES, "targets": targets})


def limits(loaded: configuration.Configuration, router: Router, method: str, path: str) -> tuple[str, int]:
    """How requests to this path are counted, and the limit per minute."""
    match = router.match(method, path, "souk.test", lambda _: None)
    assert match is not None
    found = [plugin for plugin in loaded.plugins.values() if plugin.name == "rate-limiting"]
    own = [plugin for plugin in found if plugin.route == match.route.id] or [
        plugin for plugin in found if plugin.route is None
    ]
    config = own[0].config or {}
    assert (config["policy"], config["fault_tolerant"]) == ("redis", True)
    return config["limit_by"], config["minute"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/users/login", ("ip", 1)),
        ("POST", "/account/login", ("ip", 1)),
        ("POST", "/demo", ("ip", 1)),
        ("GET", "/account/login", ("ip", 2)),
        ("GET", "/products/", ("ip", 2)),
        ("GET", "/orders/", ("header", 3)),
        ("GET", "/partners/products", ("consumer", 4)),
    ],
)
def test_requests_are_counted_by_the_best_known_identity(
    loaded: configuration.Configuration, router: Router, method: str, path: str, expected: tuple[str, int]
) -> None:
    assert limits(loaded, router, method, path) == expected


SENT = "header.claims.signature"
SPELLINGS = [
    f"Bearer {SENT}",
    f"bearer {SENT}",
    f"Bearer   {SENT}",
    f"Bearer {SENT}=",
    "Bearer header.claims.signaturf",
]


def test_a_token_has_one_limit_however_it_is_spelled(
    loaded: configuration.Configuration, serve: Serve, upstream: Upstream
) -> None:
    (functions,) = [each for each in loaded.plugins.values() if each.name == "pre-function"]
    client = serve(
        through(
            plugin("pre-function", **(functions.config or {})),
            plugin("rate-limiting", hour=len(SPELLINGS), policy="local", limit_by="header", header_name="TokenDigest"),
        )
    )
    replies = [client.get("/", {"Authorization": each, "TokenDigest": each}) for each in SPELLINGS]
    assert [reply.header("RateLimit-Remaining") for reply in replies] == ["4", "3", "2", "1", "0"]
    assert client.get("/", {"Authorization": "Bearer other.claims.signature"}).header("RateLimit-Remaining") == "4"


def test_no_edge_counts_by_a_secret(loaded: configuration.Configuration) -> None:
    """Kong writes what it counts by into Redis as it is."""
    limited = [plugin.config or {} for plugin in loaded.plugins.values() if plugin.name == "rate-limiting"]
    assert len(limited) > 3
    assert {config["header_name"] for config in limited if config["limit_by"] == "header"} == {"TokenDigest"}
    assert {config["limit_by"] for config in limited} <= {"header", "ip", "consumer"}


def test_routes_of_the_gateways_own_can_be_left_out() -> None:
    values = {**VALUES, "targets": {**TARGETS, "docs": [], "console": []}, "log_path": ""}
    loaded = configuration.load(render(FILE, values))
    assert not {"docs", "console"} & {service.name for service in loaded.services.values()}
    assert "file-log" not in {plugin.name for plugin in loaded.plugins.values()}


def test_partners_need_a_key_and_operations_an_address(loaded: configuration.Configuration, router: Router) -> None:
    for path, wanted in (("/partners/products", {"key-auth", "acl"}), ("/operations/status", {"ip-restriction"})):
        match = router.match("GET", path, "souk.test", lambda _: None)
        assert match is not None
        names = {plugin.name for plugin in loaded.plugins.values() if plugin.route == match.route.id}
        assert wanted <= names


def test_targets_are_the_addresses_of_the_services() -> None:
    settings = RenderSettings(
        services={"users": "http://10.0.0.1:81/"},
        jwt_keys={"k": "s" * 32},
        admin_port=9,
        admin_host="10.0.0.2",
        redis_url="redis://:p%2Fw@r.test:7/2",
        partner_keys=["shown"],
        rate_limits={"enter": 5},
    )
    assert values_of(settings) == {
        "jwt_keys": [{"key": "k", "algorithm": "HS256", "secret": "s" * 32}],
        "targets": {"users": ["10.0.0.1:81"], "docs": ["10.0.0.2:9"], "console": []},
        "partner_keys": ["shown"],
        "redis": {"host": "r.test", "port": 7, "username": None, "password": "p/w", "database": 2, "timeout": 250},
        "limits": {"enter": 5, "anonymous": 1_200, "token": 1_200, "partner": 6_000},
        "weights": {},
        "hsts_seconds": 31_536_000,
        "tls": False,
        "inside": [
            *("X-Request-Timeout-Ms", "X-Request-Timeout_Ms", "X-Request_Timeout-Ms", "X-Request_Timeout_Ms"),
            *("X_Request-Timeout-Ms", "X_Request-Timeout_Ms", "X_Request_Timeout-Ms", "X_Request_Timeout_Ms"),
            *("X-API-Key", "X-API_Key", "X_API-Key", "X_API_Key"),
            *("traceparent", "tracestate"),
        ],
        "log_path": "/dev/stdout",
        "status": "10.0.0.2:9",
        "operators": ["127.0.0.0/8", "::1"],
    }


def test_with_consul_an_upstream_is_its_service_name() -> None:
    settings = RenderSettings(services={"users": "http://10.0.0.1:81"}, consul_url="http://127.0.0.1:1", admin_port=9)
    assert values_of(settings)["targets"] == {
        "users": ["users.service.consul"],
        "docs": ["127.0.0.1:9"],
        "console": [],
    }


def test_two_releases_share_requests_by_their_weights(tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('{"users.souk.svc:8080": 95, "users-canary.souk.svc:8080": 5}')
    (tmp_path / "orders.json").write_text("{}")
    services = {name: f"http://{name}.test:81" for name in UPSTREAMS[:-1]}
    settings = RenderSettings(
        services=services,
        consul_url="http://127.0.0.1:1",
        jwt_keys={"k": "s" * 32},
        admin_port=9,
        weights_directory=tmp_path,
    )
    upstreams = {
        each["name"]: each["targets"] for each in yaml.safe_load(render(FILE, values_of(settings)))["upstreams"]
    }
    assert upstreams["users"] == [
        {"target": "users.souk.svc:8080", "weight": 95},
        {"target": "users-canary.souk.svc:8080", "weight": 5},
    ]
    assert upstreams["orders"] == [{"target": "orders.service.consul"}]


@pytest.mark.parametrize("wrong", ["", "[]", '{"users:1": -1}', '{"users:1": "5"}', '{"users:1": 70000}', '{"a b": 5}'])
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "users.json").write_text(wrong)
    with pytest.raises(ValueError, match="validation error"):
        weights_of(tmp_path)


def test_the_command_prints_the_rendered_file() -> None:
    services = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(UPSTREAMS[:-1], start=1)}
    environment = {
        "SOUK_SERVICES": json.dumps(services),
        "SOUK_JWT_KEYS": json.dumps({"k1": "s" * 32}),
        "SOUK_ADMIN_PORT": "99",
        "PATH": "",
    }
    command = [sys.executable, "-m", "services.gateway.config.render", str(FILE)]
    printed = subprocess.run(command, env=environment, cwd=FILE.parents[1], capture_output=True, text=True, check=True)
    assert yaml.safe_load(printed.stdout)["upstreams"][0]["targets"] == [{"target": "127.0.0.1:1"}]


@pytest.mark.parametrize("template", ["{{ nothing }}", "{% for"])
def test_the_command_prints_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], template: str
) -> None:
    RenderSettings.use(admin_port=1)
    broken = tmp_path / "broken.yml"
    broken.write_text(template)
    assert main(str(broken)) == 1
    assert capsys.readouterr().err.startswith(f"{broken}: ")
    assert main(str(tmp_path / "absent.yml")) == 1
