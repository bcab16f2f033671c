"""`python -m services.gateway`: the proxy on SOUK_PORT and SOUK_TLS_PORT, its admin on SOUK_ADMIN_PORT, until SIGTERM."""

import gc
import socket
import sys

import uvloop

from chassis.base import telemetry, tracing
from services.gateway.admin.app import create_admin
from services.gateway.admin.server import AdminServer
from services.gateway.app import Gateway
from services.gateway.config import configuration
from services.gateway.config.errors import InvalidConfiguration
from services.gateway.proxy.edge import Edge
from services.gateway.runtime import Runtime
from services.gateway.settings import GatewaySettings
from services.gateway.wire.server import bind


def load(settings: GatewaySettings) -> Edge:
    """Exit with a line for each error in a file that the gateway cannot execute."""
    try:
        return Edge(configuration.load(settings.kong_file.read_text()))
    except OSError as error:
        sys.exit(f"SOUK_KONG_FILE: {error}")
    except InvalidConfiguration as invalid:
        sys.exit("\n".join(f"{settings.kong_file.name}: {error}" for error in invalid.errors))


def _bind(name: str, host: str, port: int) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        sys.exit(f"{name}: {host}:{port}: {error.strerror}")


async def serve(settings: GatewaySettings, gateway: Gateway, http: socket.socket, https: socket.socket | None) -> None:
    runtime = Runtime(gateway, settings)
    admin = AdminServer(create_admin(runtime, settings.services))
    try:
        await admin.listen(settings.admin_host, settings.admin_port)
    except OSError as error:
        sys.exit(f"SOUK_ADMIN_PORT: {settings.admin_host}:{settings.admin_port}: {error.strerror}")
    await runtime.listen(http, https)
    # Exempt what exists now, and stays, from garbage collection.
    gc.collect()
    gc.freeze()
    await runtime.run_until_signalled()
    await admin.stop()


def main() -> None:
    settings = GatewaySettings.current()
    telemetry.configure_logging("gateway", settings.log_level)
    telemetry.BUILD.labels(settings.version).set(1)
    if settings.otlp_url:
        from chassis.base import otlp

        otlp.start(settings.otlp_url, "gateway", settings.version)
    gateway = Gateway(load(settings), settings.trusted_ips, settings.real_ip_header)
    http = _bind("SOUK_PORT", settings.host, settings.port)
    https = _bind("SOUK_TLS_PORT", settings.host, settings.tls_port) if settings.tls_certificate else None
    uvloop.run(serve(settings, gateway, http, https))
    tracing.stop()


if __name__ == "__main__":
    main()
