"""Fails a test when a service's response is not in its OpenAPI document."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException

UNDOCUMENTED = {500}
"""Bugs are not documented; a few tests provoke one."""


def watch(app: Flask) -> Flask:
    """`app`, raising AssertionError in the client for an undocumented response."""
    inner = app.wsgi_app

    def watched(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen: list[tuple[int, str]] = []

        def starting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kind = next((value for name, value in headers if name.lower() == "content-type"), "")
            seen.append((int(status.split()[0]), kind.partition(";")[0]))
            return start_response(status, headers, *rest)

        response = inner(environ, starting)
        _check(app, environ, *seen[0])
        return response

    app.wsgi_app = watched  # type: ignore[method-assign]
    return app


def _check(app: Flask, environ: dict[str, Any], status: int, content_type: str) -> None:
    method = environ["REQUEST_METHOD"]
    try:
        rule, _ = app.url_map.bind_to_environ(environ).match(return_rule=True)
    except HTTPException:
        return
    path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
    operation = app.extensions["openapi"]()["paths"].get(path, {}).get(method.lower())
    if operation is None or status in UNDOCUMENTED:
        return
    hint = "add the problem to its `raises`" if status >= 400 else "see chassis/web/openapi.py"
    assert str(status) in operation["responses"], f"{method} {path} returned an undocumented {status}: {hint}."
    if status >= 400:
        assert list(operation["responses"][str(status)]["content"]) == [content_type], (method, path, content_type)
