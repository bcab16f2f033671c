"""The whole environment in which real Kong serves Souk; docs/kong.md says why."""

from pathlib import Path

STATUS = "127.0.0.1:8100"
"""Where Kong tells its own state, which the edge shows as /operations/status."""


def environment(file: Path, listen: str, dns: str, trusted_ips: str) -> dict[str, str]:
    """`listen`: as KONG_PROXY_LISTEN. `dns`: Consul's, host:port; empty where targets are addresses."""
    return {
        "KONG_DATABASE": "off",
        "KONG_DECLARATIVE_CONFIG": str(file),
        "KONG_PROXY_LISTEN": listen,
        "KONG_ADMIN_LISTEN": "off",
        "KONG_STATUS_LISTEN": STATUS,
        # nginx's access log has whole URLs, and its error log those of failed requests from level `error` down.
        "KONG_PROXY_ACCESS_LOG": "off",
        "KONG_STATUS_ACCESS_LOG": "off",
        "KONG_PROXY_ERROR_LOG": "/dev/stderr",
        "KONG_LOG_LEVEL": "crit",
        "KONG_ANONYMOUS_REPORTS": "off",
        "KONG_NGINX_DAEMON": "off",
        **_dns(dns),
        **({"KONG_TRUSTED_IPS": trusted_ips, "KONG_REAL_IP_HEADER": "X-Forwarded-For"} if trusted_ips else {}),
    }


def _dns(server: str) -> dict[str, str]:
    """With Kong's defaults an instance that paused for 43 s came back after 80 s, and a restart cost 33 s of errors."""
    if not server:
        return {}
    return {
        "KONG_DNS_RESOLVER": server,
        "KONG_DNS_STALE_TTL": "0",
        "KONG_DNS_NOT_FOUND_TTL": "1",
        "KONG_DNS_ERROR_TTL": "1",
    }
