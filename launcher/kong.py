"""Real Kong's environment; see docs/kong.md."""

from pathlib import Path

STATUS = "127.0.0.1:8100"
"""The edge shows it as /operations/status."""


def environment(file: Path, listen: str, dns: str, trusted_ips: str, ca: Path | None = None) -> dict[str, str]:
    """`dns`: Consul's host:port, or empty. `ca`: of our services' certificates."""
    return {
        "KONG_DATABASE": "off",
        "KONG_DECLARATIVE_CONFIG": str(file),
        "KONG_PROXY_LISTEN": listen,
        "KONG_ADMIN_LISTEN": "off",
        "KONG_ADMIN_GUI_LISTEN": "off",
        "KONG_STATUS_LISTEN": STATUS,
        # nginx logs whole URLs, in the error log at `error` and below.
        "KONG_PROXY_ACCESS_LOG": "off",
        "KONG_STATUS_ACCESS_LOG": "off",
        "KONG_PROXY_ERROR_LOG": "/dev/stderr",
        "KONG_LOG_LEVEL": "crit",
        # As services/gateway/proxy/forward.py.
        "KONG_NGINX_PROXY_PROXY_NEXT_UPSTREAM_TIMEOUT": "3s",
        "KONG_ANONYMOUS_REPORTS": "off",
        "KONG_NGINX_DAEMON": "off",
        **_dns(dns),
        # For requests, and for health checks.
        **(
            {"KONG_NGINX_PROXY_PROXY_SSL_TRUSTED_CERTIFICATE": str(ca), "KONG_LUA_SSL_TRUSTED_CERTIFICATE": str(ca)}
            if ca
            else {}
        ),
        **({"KONG_TRUSTED_IPS": trusted_ips, "KONG_REAL_IP_HEADER": "X-Forwarded-For"} if trusted_ips else {}),
    }


def _dns(server: str) -> dict[str, str]:
    """Kong's defaults cost 33 s of errors at a restart, and 80 s until a paused instance was back."""
    if not server:
        return {}
    return {
        "KONG_DNS_RESOLVER": server,
        "KONG_DNS_STALE_TTL": "0",
        "KONG_DNS_NOT_FOUND_TTL": "1",
        "KONG_DNS_ERROR_TTL": "1",
    }
