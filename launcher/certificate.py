"""TLS certificates: the edge's, yours or a self-signed one; and those of services, by the installation's own CA."""

import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from launcher.errors import LaunchError
from launcher.state import StateFolder

VALID = timedelta(days=825)
"""The longest that browsers accept."""

RENEWED_BEFORE = timedelta(days=30)

INTERNAL_RENEWED_BEFORE = timedelta(days=365)
"""At an `up`, which may be rare."""

CA_VALID = timedelta(days=3650)

ADDRESSES = ("127.0.0.1", "::1")


def paths(state: StateFolder, environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Certificate and key, given or our own. Raises LaunchError."""
    given = [environment.get(name, "") for name in ("SOUK_TLS_CERTIFICATE", "SOUK_TLS_KEY")]
    if any(given):
        missing = [path or "(nothing)" for path in given if not Path(path).is_file()]
        if missing:
            raise LaunchError(
                f"SOUK_TLS_CERTIFICATE and SOUK_TLS_KEY must both name a file; not found: {', '.join(missing)}"
            )
        return Path(given[0]).absolute(), Path(given[1]).absolute()
    return state.path / "tls/certificate.pem", state.path / "tls/key.pem"


def ensure(state: StateFolder, environment: Mapping[str, str]) -> None:
    certificate, key = paths(state, environment)
    if certificate.is_relative_to(state.path) and not (key.exists() and _is_valid(certificate)):
        _make(state, "tls/certificate.pem", "tls/key.pem", "Souk on this machine", ("localhost", socket.gethostname()))


def internal_paths(state: StateFolder, service: str) -> tuple[Path, Path]:
    """Certificate and key; "ca" for the CA's."""
    return state.path / f"internal/{service}.pem", state.path / f"internal/{service}.key.pem"


def ensure_internal(state: StateFolder, services: Iterable[str], now: datetime | None = None) -> None:
    """A certificate for each service's name, and this machine's addresses. Renewed a year before it expires."""
    now = now or datetime.now(UTC)
    (ca, ca_key), name = internal_paths(state, "ca"), "Souk's services"
    is_new = not (ca_key.exists() and _is_valid(ca, VALID, now))
    if is_new:
        _make(state, _name(ca), _name(ca_key), name, valid=CA_VALID, is_ca=True)
    for service in services:
        certificate, key = internal_paths(state, service)
        if is_new or not (key.exists() and _is_valid(certificate, INTERNAL_RENEWED_BEFORE, now)):
            _make(state, _name(certificate), _name(key), service, (service,), issuer=(ca, ca_key))


def _name(path: Path) -> str:
    """Within the state folder."""
    return f"internal/{path.name}"


def _is_valid(certificate: Path, remaining: timedelta = RENEWED_BEFORE, now: datetime | None = None) -> bool:
    # Slow to import.
    from cryptography import x509

    try:
        made = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return made.not_valid_after_utc - (now or datetime.now(UTC)) > remaining


def _make(
    state: StateFolder,
    certificate: str,
    key: str,
    subject: str,
    names: Iterable[str] = (),
    *,
    valid: timedelta = VALID,
    is_ca: bool = False,
    issuer: tuple[Path, Path] | None = None,
) -> None:
    """issuer: certificate and key; None: self-signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    own = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signer: Any = own
    issued_by = name
    if issuer:
        issued_by = x509.load_pem_x509_certificate(issuer[0].read_bytes()).subject
        signer = serialization.load_pem_private_key(issuer[1].read_bytes(), password=None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issued_by)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + valid)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_ca:
        builder = builder.add_extension(_signs_certificates(), critical=True)
    else:
        alternatives = [x509.DNSName(each) for each in dict.fromkeys(names)]
        addresses = [x509.IPAddress(ip_address(each)) for each in ADDRESSES]
        builder = builder.add_extension(x509.SubjectAlternativeName([*alternatives, *addresses]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    state.write(key, private.decode())
    state.write(certificate, builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())


def _signs_certificates() -> Any:
    from cryptography import x509

    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    unused = dict.fromkeys((*uses, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, **unused)
