"""The page that shows the joined document: Swagger UI, with the token in memory only."""

import hashlib
from functools import lru_cache
from importlib.resources import files

from flask import Blueprint, Response, abort

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Cache-Control": "public, max-age=3600",
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Souk</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script>
</html>
"""

# No validator: it would send the document's address to another site.
SCRIPT = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""

OURS = {"": ("text/html", PAGE), "page.js": ("text/javascript", SCRIPT)}
PACKAGED = {
    "favicon-32x32.png": "image/png",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}

docs = Blueprint("docs", __name__)


@docs.get("/docs", defaults={"name": ""})
@docs.get("/docs/<name>")
def show(name: str) -> Response:
    if name not in OURS and name not in PACKAGED:
        abort(404)
    content_type, content, etag = _file(name)
    response = Response(content, content_type=content_type, headers=HEADERS)
    response.set_etag(etag)
    return response


@lru_cache
def _file(name: str) -> tuple[str, bytes, str]:
    """Type, content and ETag; every response shares the content."""
    if name in OURS:
        content_type, text = OURS[name]
        content = text.encode()
    else:
        content_type = PACKAGED[name]
        content = (files("flask_swagger_ui") / "dist" / name).read_bytes()
    charset = "" if content_type.startswith("image/") else "; charset=utf-8"
    return content_type + charset, content, hashlib.sha256(content).hexdigest()[:32]
