"""A page and who may see it. A page that does not say so is not served."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Blueprint, Flask, abort, current_app, redirect, request, url_for
from werkzeug.wrappers import Response

from services.console import person

View = TypeVar("View", bound=Callable[..., Any])

Allowed = Literal["anyone", "customer", "staff", "admin"]
"""Each includes those to its right."""


class Pages(Blueprint):
    def page(self, rule: str, allow: Allowed, methods: tuple[str, ...] = ("GET",)) -> Callable[[View], View]:
        def register(view: View) -> View:
            view.allow = allow  # type: ignore[attr-defined]  # functions take attributes
            return self.route(rule, methods=[*methods])(view)

        return register


OPEN = ("static", "live", "ready", "prometheus_metrics")
"""Endpoints that are no pages. The edge routes none of them but the first."""


def allowed(app: Flask, endpoint: str) -> Allowed | None:
    view: Any = app.view_functions[endpoint]
    return "anyone" if endpoint in OPEN else getattr(view, "allow", None)


def guard() -> Response | None:
    """Runs before every view."""
    if request.endpoint is None:
        return None
    allow = allowed(current_app, request.endpoint)
    if allow is None:
        abort(403)
    if request.method == "POST" and not person.is_form_token(request.form.get("csrf", "")):
        abort(400, "This form is too old. Go back, reload the page, and send it again.")
    if allow == "anyone":
        return None
    who = person.current()
    if who is None:
        return to_login()
    if (allow == "staff" and not who.is_staff) or (allow == "admin" and not who.is_admin):
        abort(403)
    return None


def to_login() -> Response:
    here = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(url_for("account.login", next=here))


def own_path(path: str) -> str:
    """Where a login leads: `path` if it is one of ours, else the shop."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and not set(path) & set("\r\n\t\\")
    return path if is_ours else url_for("shop.browse")
