"""`python -m services.console`: the pages on SOUK_PORT, until SIGTERM."""

from chassis.base import telemetry
from chassis.run import web_server
from services.console.app import create_app
from services.console.settings import ConsoleSettings


def main() -> None:
    settings = ConsoleSettings.current()
    settings.require("session_keys")
    telemetry.configure_logging("console", settings.log_level)
    telemetry.BUILD.labels(settings.version).set(1)
    web_server.run(create_app(settings), settings)


if __name__ == "__main__":
    main()
