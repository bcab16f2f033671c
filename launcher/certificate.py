"""The edge's TLS certificate: yours, or a self-signed one."""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from launcher.errors import LaunchError
from launcher.state import StateFolder

VALID = timedelta(days=825)
"""The longest that browsers accept."""

RENEWED_BEFORE = timedelta(days=30)

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
        _make(state)


def _is_valid(certificate: Path) -> bool:
    # Slow to import.
    from cryptography import x509

    try:
        made = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return made.not_valid_after_utc - datetime.now(UTC) > RENEWED_BEFORE


def _make(state: StateFolder) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Souk on this machine")])
    names = [x509.DNSName(each) for each in dict.fromkeys(("localhost", socket.gethostname()))]
    addresses = [x509.IPAddress(ip_address(each)) for each in ADDRESSES]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    state.write("tls/key.pem", private.decode())
    state.write("tls/certificate.pem", made.public_bytes(serialization.Encoding.PEM).decode())
