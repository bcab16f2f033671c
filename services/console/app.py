"""The console: start page, shop, account and staff's pages, rendered on the server."""

import time
from typing import Any

from flask import Flask, Response, render_template, request, session
from structlog import get_logger
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from chassis.base.health import Health, InFlight
from chassis.base.problems import Problem
from chassis.run import web_app
from chassis.run.bodies import MAX_BODY_BYTES
from chassis.storage.trail import TERMINAL
from services.console import account, api, docs, operations, orders, pages, person, shop, show, staff, start
from services.console.session import EncryptedSessions
from services.console.settings import ConsoleSettings

log = get_logger(__name__)

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

ASSET_SECONDS = 3600


def create_app(settings: ConsoleSettings) -> Flask:
    app = Flask("services.console", static_url_path="/assets")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.strict_slashes = False
    app.session_interface = EncryptedSessions([key.get_secret_value() for key in settings.session_keys])
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= show.FILTERS
    app.jinja_env.globals |= {
        "csrf": show.csrf,
        "key": show.key,
        "terminal": str(TERMINAL),
        "started": int(time.time()),
    }
    for blueprint in (start.pages, shop.pages, account.pages, orders.pages, staff.pages, operations.pages, docs.pages):
        app.register_blueprint(blueprint)
    app.before_request(pages.guard)
    app.after_request(_secured)
    app.context_processor(lambda: {"person": person.current(), "basket_size": shop.basket_size(), "settings": settings})
    app.register_error_handler(api.LoggedOut, _logged_out)
    app.register_error_handler(api.Refusal, _refused)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    in_flight = InFlight()
    web_app.serve(app, settings, Health({}, in_flight), in_flight)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=1, x_host=0)  # type: ignore[method-assign]
    return app


def _secured(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CSP
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if request.endpoint == "static" and response.status_code in (200, 206, 304):
        response.headers["Cache-Control"] = f"public, max-age={ASSET_SECONDS}"
    else:
        response.headers["Cache-Control"] = "no-store"
    return response


def _logged_out(_: api.LoggedOut) -> Any:
    person.end(keep_basket=True)
    return pages.to_login()


def _refused(refusal: api.Refusal) -> Any:
    return _error(refusal.status, refusal.title, refusal.detail)


def _problem(problem: Problem) -> Any:
    return _error(problem.status, problem.title, problem.detail, problem.headers)


def _http_error(error: HTTPException) -> Any:
    if error.code is not None and error.code < 400:
        return error
    title, detail = _WORDS.get(error.code or 500, (error.name, error.description or ""))
    if error.code == 400:
        detail = error.description or detail
    return _error(error.code or 500, title, detail)


def _unexpected(error: Exception) -> Any:
    log.exception("unhandled error", exc_info=error)
    return _error(500, "Something went wrong on our side", "It has been logged.")


_WORDS = {
    400: ("That did not work", ""),
    403: ("This page is not for you", "Your account does not have the role that it takes."),
    404: ("There is no such page", "The address may be mistyped, or what it showed is gone."),
    405: ("There is no such page", "It cannot be used in this way."),
}


def _error(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Any:
    try:
        page = render_template("error.html", status=status, title=title, detail=detail)
    except Exception as error:  # an error page must not fail for a strange session
        log.exception("error page failed", exc_info=error)
        session.clear()
        page = title
    return page, status, headers or {}
