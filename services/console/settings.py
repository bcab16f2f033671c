"""The console's settings, in addition to those of every process."""

from pydantic import Field, SecretStr

from chassis.base.settings import Settings


class ConsoleSettings(Settings):
    session_keys: list[SecretStr] = Field(default_factory=list)
    """Keys of 32 bytes in base64url that encrypt the session cookie: the first encrypts, all decrypt. A lost one logs everybody out."""

    prometheus_url: str = ""
    """Where health, queues and alerts are read. Empty: the start page asks each service itself."""

    traces_url: str = ""
    """Of Jaeger's query API, for the spans of orders and requests, such as `http://jaeger:16686`. Empty: none are shown."""

    logs_url: str = ""
    """Of VictoriaLogs, for log lines about orders and requests, such as `http://victorialogs:9428`. Empty: none are shown."""

    openapi_url: str = ""
    """Of the joined OpenAPI document, which the edge serves as /openapi.json."""

    addresses: dict[str, str] = Field(default_factory=dict)
    """JSON; what the start page links to, by title. Only in development."""

    mailbox_url: str = ""
    """Of the development mailbox, for staff. Only in development."""

    staff_email: str = ""
    """Of the account that `./souk up` has made for the operator, shown on the login page. Only in development."""

    @property
    def is_development(self) -> bool:
        return self.environment == "development"
