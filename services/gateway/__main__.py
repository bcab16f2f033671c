"""`python -m services.gateway`: the proxy on SOUK_PORT, its admin on SOUK_ADMIN_PORT, until SIGTERM."""

import sys

from chassis import telemetry, web
from services.gateway import admin, configuration
from services.gateway.app import Gateway
from services.gateway.configuration import InvalidConfiguration
from services.gateway.edge import Edge
from services.gateway.settings import GatewaySettings


def load(settings: GatewaySettings) -> Edge:
    """Ends the process, with a line for each fault, when the file is not one the gateway can execute."""
    try:
        return Edge(configuration.load(settings.kong_file.read_text()), settings.idle_connections)
    except OSError as error:
        sys.exit(f"SOUK_KONG_FILE: {error}")
    except InvalidConfiguration as invalid:
        sys.exit("\n".join(f"{settings.kong_file.name}: {fault}" for fault in invalid.faults))


def main() -> None:
    settings = GatewaySettings.current()
    telemetry.configure_logging("gateway", settings.log_level)
    gateway = Gateway(load(settings))
    server = admin.listen(admin.create_admin(gateway, settings.services), settings.admin_host, settings.admin_port)
    admin.start(server)
    web.run(gateway, settings)


if __name__ == "__main__":
    main()
