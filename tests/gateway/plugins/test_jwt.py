"""Section 8 of Kong's behaviour: the jwt plugin."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from services.gateway.config.errors import InvalidConfiguration
from tests.gateway.conftest import Serve
from tests.gateway.upstream import Client, Upstream

SECRET = "a secret that is long enough for HS256!"
LATER = int(time.time()) + 86_400


def protect(serve: Serve, *credentials: dict[str, Any], **config: Any) -> Client:
    """A gateway whose only route requires a token of the consumer shop, whose keys are `credentials`."""
    return serve(
        {
            "services": [
                {
                    "url": "http://{upstream}",
                    "routes": [{"paths": ["/"]}],
                    "plugins": [{"name": "jwt", "config": config}],
                }
            ],
            "consumers": [
                {"username": "shop", "custom_id": "c1", "jwt_secrets": list(credentials) or [hs256()]},
                {"username": "guest"},
            ],
        }
    )


def hs256(**fields: Any) -> dict[str, Any]:
    return {"key": "k1", "secret": SECRET, **fields}


def token(secret: Any = SECRET, algorithm: str = "HS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    return jwt.encode({"iss": "k1", **claims}, secret, algorithm, header)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def raw(header: Any, claims: Any, signature: str = "c2ln") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return ".".join((*parts, signature))


HS = {"alg": "HS256"}
INVALID_JSON, INVALID_ALG = "Bad token; invalid JSON", "Bad token; invalid alg"
INVALID_SIGNATURE = "Bad token; invalid signature"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", INVALID_JSON),
        ("a.b", INVALID_JSON),
        ("!!.e30.c2ln", INVALID_JSON),
        ("\u00e9.e30.c2ln", INVALID_JSON),
        ("bnVsbA.e30.c2ln", INVALID_JSON),
        ("W10.W10.c2ln", INVALID_JSON),
        (raw({}, {"iss": "k1"}), INVALID_ALG),
        (raw({"alg": "none"}, {"iss": "k1"}), INVALID_ALG),
        (raw({"alg": "XX1"}, {"iss": "k1"}), INVALID_ALG),
        (raw({"alg": ["HS256"]}, {"iss": "k1"}), INVALID_ALG),
        (raw(HS, {"iss": "k1"}, ""), "Invalid signature"),
        (raw(HS, {"iss": "k1"}, "c2ln.c2ln"), INVALID_SIGNATURE),
        (raw(HS, {}), "No mandatory 'iss' in claims"),
        (raw(HS, {"iss": ""}), "Invalid 'iss' in claims"),
        (raw(HS, {"iss": "k9"}), "No credentials found for given 'iss'"),
        (raw(HS, {"iss": ["k1"]}), "No credentials found for given 'iss'"),
        (raw({"alg": "HS384"}, {"iss": "k1"}), "Invalid algorithm"),
        (raw(HS, {"iss": "k1"}), "Invalid signature"),
        (token("another secret that is long enough!!"), "Invalid signature"),
        (token()[:-3] + "AAA", "Invalid signature"),
    ],
)
def test_an_invalid_token_is_refused(serve: Serve, upstream: Upstream, text: str, message: str) -> None:
    header = bearer(text.encode().decode("latin-1"))
    reply = protect(serve).get("/", header)
    assert (reply.status, reply.json) == (401, {"message": message})
    assert reply.header("WWW-Authenticate") == 'Bearer error="invalid_token"'
    assert reply.header("Content-Type") == "application/json; charset=utf-8"
    assert not upstream.seen


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic eDp5"}, {"Authorization": "BEARER x"}, {"Authorization": "Bearer"}]
)
def test_without_a_token_no_request_passes(serve: Serve, upstream: Upstream, headers: dict[str, str]) -> None:
    reply = protect(serve).get("/", {"Accept": "text/html", **headers})
    assert (reply.status, reply.body) == (401, b'{"message":"Unauthorized"}')
    assert reply.header("WWW-Authenticate") == "Bearer"
    assert not upstream.seen


def test_the_challenge_names_the_realm(serve: Serve) -> None:
    assert protect(serve, realm="souk").get("/").header("WWW-Authenticate") == 'Bearer realm="souk"'


@pytest.mark.parametrize("text", ["Bearer {}", "bearer {}", " Bearer   {}"])
def test_a_valid_token_passes_and_identifies_its_consumer(serve: Serve, upstream: Upstream, text: str) -> None:
    sent = text.format(token())
    spoofed = {"X-Consumer-ID": "1", "X-Consumer-Username": "admin", "X-Anonymous-Consumer": "true"}
    assert protect(serve).get("/", {"Authorization": sent, **spoofed}).status == 200
    seen = upstream.last
    assert (seen.header("X-Consumer-Username"), seen.header("X-Consumer-Custom-ID")) == ("shop", "c1")
    assert seen.header("X-Consumer-ID") not in ("1", None)
    assert seen.header("X-Credential-Identifier") == "k1"
    assert seen.header("X-Anonymous-Consumer") is None
    assert seen.header("Authorization") == sent.strip()


def test_underscores_cannot_spoof_identity_headers(serve: Serve, upstream: Upstream) -> None:
    protect(serve).get("/", {**bearer(token()), "X_Consumer_Groups": "x", "X_Credential_Identifier": "admin"})
    assert "admin" not in [value for _, value in upstream.last.headers]


@pytest.mark.parametrize("place", ["query", "cookie", "header"])
def test_the_token_is_found_in_every_configured_place(serve: Serve, upstream: Upstream, place: str) -> None:
    client = protect(serve, uri_param_names=["t"], cookie_names=["c"], header_names=["X-Token"])
    path, headers = "/", {}
    match place:
        case "query":
            path = f"/?t={token()}"
        case "cookie":
            headers = {"Cookie": f"a=b; c={token()}"}
        case "header":
            headers = {"X-Token": f"Bearer {token()}"}
    assert client.get(path, headers).status == 200
    assert upstream.last.target == path


def test_one_token_may_be_repeated_but_two_are_refused(serve: Serve) -> None:
    client = protect(serve)
    same, other = token(), token(sub="x")
    assert client.get(f"/?jwt={same}", bearer(same)).status == 200
    assert client.get(f"/?jwt={other}", bearer(same)).json == {"message": "Multiple tokens provided"}


@pytest.mark.parametrize("name", ["iss", "kid"])
def test_the_key_may_be_in_a_header(serve: Serve, name: str) -> None:
    signed = jwt.encode({"sub": "x"}, SECRET, "HS256", {name: "k1"})
    assert protect(serve, key_claim_name=name).get("/", bearer(signed)).status == 200


@pytest.mark.parametrize(
    ("claims", "verified", "errors"),
    [
        ({"exp": 1}, [], None),
        ({"exp": LATER}, ["exp"], None),
        ({"exp": 1}, ["exp"], {"exp": "token expired"}),
        ({}, ["exp"], {"exp": "must be a number"}),
        ({"exp": "1"}, ["exp"], {"exp": "must be a number"}),
        ({"exp": True}, ["exp"], {"exp": "must be a number"}),
        ({"nbf": LATER}, ["nbf"], {"nbf": "token not valid yet"}),
        ({"nbf": 1}, ["nbf"], None),
        ({"exp": 1, "nbf": LATER}, ["exp", "nbf"], {"exp": "token expired", "nbf": "token not valid yet"}),
    ],
)
def test_only_the_named_claims_count(
    serve: Serve, claims: dict[str, Any], verified: list[str], errors: dict[str, str] | None
) -> None:
    signed = jwt.PyJWT(options={}).encode({"iss": "k1", **claims}, SECRET, "HS256")
    reply = protect(serve, claims_to_verify=verified).get("/", bearer(signed))
    assert reply.status == (200 if errors is None else 401)
    assert errors is None or reply.json == errors


@pytest.mark.parametrize(("lifetime", "status"), [(60, 200), (7200, 401)])
def test_a_token_with_too_long_a_lifetime_is_refused(serve: Serve, lifetime: int, status: int) -> None:
    client = protect(serve, claims_to_verify=["exp"], maximum_expiration=3600)
    reply = client.get("/", bearer(token(exp=int(time.time()) + lifetime)))
    assert reply.status == status
    assert status == 200 or reply.json == {"exp": "exceeds maximum allowed expiration"}


PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
PRIVATE_KEYS["PS512"] = PRIVATE_KEYS["RS256"]


def public(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return text.decode()


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_tokens_may_be_signed_by_a_private_key(serve: Serve, algorithm: str) -> None:
    key = PRIVATE_KEYS[algorithm]
    client = protect(serve, {"key": "k1", "algorithm": algorithm, "rsa_public_key": public(key)})
    signed = token(key, algorithm)
    assert client.get("/", bearer(signed)).status == 200
    assert client.get("/", bearer(signed[:-8] + "AAAAAAAA")).json == {"message": "Invalid signature"}


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_longer_hashes(serve: Serve, algorithm: str) -> None:
    secret = SECRET * 2
    client = protect(serve, hs256(algorithm=algorithm, secret=secret))
    assert client.get("/", bearer(token(secret, algorithm))).status == 200


def test_the_public_key_cannot_sign_as_a_secret(serve: Serve) -> None:
    """Signing HS256 with the public key as the secret is a well-known attack."""
    pem = public(PRIVATE_KEYS["RS256"])
    client = protect(serve, {"key": "k1", "algorithm": "RS256", "rsa_public_key": pem})
    header, claims = raw(HS, {"iss": "k1"}, "").split(".")[:2]
    signature = hmac.digest(pem.encode(), f"{header}.{claims}".encode(), "sha256")
    forged = f"{header}.{claims}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert client.get("/", bearer(forged)).json == {"message": "Invalid algorithm"}


def test_a_credential_without_a_key_authenticates_no_request(serve: Serve) -> None:
    client = protect(serve, {"key": "k1", "algorithm": "HS256"})
    assert client.get("/", bearer(token())).json == {"message": "Invalid key/secret"}


def test_a_secret_may_be_base64(serve: Serve) -> None:
    encoded = base64.urlsafe_b64encode(SECRET.encode()).decode()
    client = protect(serve, hs256(secret=encoded), secret_is_base64=True)
    assert client.get("/", bearer(token())).status == 200


def test_several_keys_verify_during_a_rotation(serve: Serve) -> None:
    new = SECRET + " new"
    client = protect(serve, hs256(), hs256(key="k2", secret=new))
    assert client.get("/", bearer(token())).status == 200
    assert client.get("/", bearer(jwt.encode({"iss": "k2"}, new, "HS256"))).status == 200
    assert client.get("/", bearer(jwt.encode({"iss": "k2"}, SECRET, "HS256"))).status == 401


@pytest.mark.parametrize("headers", [{}, bearer("nonsense"), bearer(token(exp=1))])
def test_requests_without_a_valid_token_are_the_anonymous_consumers(
    serve: Serve, upstream: Upstream, headers: dict[str, str]
) -> None:
    client = protect(serve, anonymous="guest", claims_to_verify=["exp"])
    assert client.get("/", {**headers, "X-Consumer-Username": "shop", "X-Credential-Identifier": "k1"}).status == 200
    seen = upstream.last
    assert (seen.header("X-Consumer-Username"), seen.header("X-Anonymous-Consumer")) == ("guest", "true")
    assert seen.header("X-Credential-Identifier") is None
    assert seen.header("X-Consumer-Custom-ID") is None


def test_a_valid_token_is_not_anonymous(serve: Serve, upstream: Upstream) -> None:
    protect(serve, anonymous="guest").get("/", {**bearer(token()), "X-Anonymous-Consumer": "true"})
    assert upstream.last.header("X-Consumer-Username") == "shop"
    assert upstream.last.header("X-Anonymous-Consumer") is None


@pytest.mark.parametrize(("runs", "status"), [(True, 401), (False, 200)])
def test_options_is_authenticated_unless_configured_otherwise(serve: Serve, runs: bool, status: int) -> None:
    assert protect(serve, run_on_preflight=runs).send("OPTIONS", "/").status == status


@pytest.mark.parametrize(
    ("credential", "config", "error"),
    [
        (hs256(algorithm="HS1"), {}, "jwt_secrets[0].algorithm: expected one of: HS256, "),
        ({"key": "k1", "algorithm": "RS256"}, {}, "RS256 needs rsa_public_key"),
        ({"key": "k1", "algorithm": "EdDSA"}, {}, "EdDSA needs rsa_public_key"),
        ({"key": "k1", "algorithm": "RS256", "rsa_public_key": "no key"}, {}, "jwt_secrets[0]: "),
        (hs256(secret="*"), {"secret_is_base64": True}, "jwt_secrets[0]: "),
        (hs256(), {"anonymous": "missing"}, "anonymous: no consumer named missing"),
        (hs256(), {"maximum_expiration": 60}, "maximum_expiration needs exp among claims_to_verify"),
        (hs256(), {"claims_to_verify": ["iat"]}, "plugins[0].config.claims_to_verify[0]: "),
    ],
)
def test_an_invalid_plugin_configuration_is_rejected_on_loading(
    serve: Serve, credential: dict[str, Any], config: dict[str, Any], error: str
) -> None:
    with pytest.raises(InvalidConfiguration, match=r".*") as refused:
        protect(serve, credential, **config)
    assert error in str(refused.value)
