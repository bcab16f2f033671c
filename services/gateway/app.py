"""The gateway's Flask application. Kong's router decides about every request, so Flask's has no rules."""

from typing import Any

from flask import Flask, Request, request
from structlog import get_logger
from werkzeug.exceptions import HTTPException

from services.gateway import answers
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange

log = get_logger(__name__)


class Gateway(Flask):
    """Runs one Edge; assigning another to `edge` is seen by the requests that come after."""

    def __init__(self, edge: Edge) -> None:
        super().__init__("gateway", static_folder=None)
        self.edge = edge
        self.total_requests = 0
        """About: two threads that count at once may count one."""
        self.register_error_handler(Exception, _unexpected)

    def create_url_adapter(self, request: Request | None) -> None:
        """None: there is nothing for Flask to match, and `//` or a strange Host is not Flask's to answer."""

    def dispatch_request(self) -> Any:
        self.total_requests += 1
        exchange = Exchange(request.environ)
        try:
            return self.edge.handle(exchange)
        finally:
            exchange.close()


def _unexpected(failure: Exception) -> answers.Answer:
    kind = answers.BAD_REQUEST if isinstance(failure, HTTPException) else answers.UNEXPECTED
    if kind is answers.UNEXPECTED:
        log.exception("unhandled error", exc_info=failure)
    return answers.error(Exchange(request.environ), kind)
