"""The inbox as JSON and pages. Untrusted HTML is shown in a frame without scripts or external resources.

Mails hold links that reset passwords: all is below a path that only the installation's owner knows.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, render_template, request, send_from_directory

from devservers import standin
from devservers.mailbox.inbox import KEPT_MAILS, Inbox
from devservers.mailbox.letter import Letter, Summary

SHOWN_MAILS = 200
MAX_ADDRESS_LENGTH = 320

OUR_PAGE = (
    "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
# Only links get out, in a new tab.
THEIR_HTML = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data:;"
    " style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'self'"
)
OPEN_LINKS_BESIDE = '<base target="_blank">'


def create_app(inbox: Inbox, is_receiving: Callable[[], bool], secret: str) -> Flask:
    app = standin.create_app(__name__, is_receiving)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.after_request(_guarded)

    @app.get(f"/{secret}/")
    def show_inbox() -> str:
        recipient = _recipient()
        return render_template("inbox.html", mails=inbox.latest(SHOWN_MAILS, recipient), recipient=recipient)

    @app.get(f"/{secret}/mails/<mail_id>")
    def show_mail(mail_id: str) -> str:
        return render_template("mail.html", mail=_found(inbox, mail_id))

    @app.get(f"/{secret}/mails/<mail_id>/html")
    def show_html(mail_id: str) -> Response:
        html = _found(inbox, mail_id).html
        if html is None:
            abort(404, "This mail has no HTML part.")
        response = Response(OPEN_LINKS_BESIDE + html)
        response.headers["Content-Security-Policy"] = THEIR_HTML
        return response

    @app.get(f"/{secret}/style.css")
    def style() -> Response:
        return send_from_directory(app.root_path, "style.css")

    @app.get(f"/{secret}/messages")
    def list_messages() -> dict[str, Any]:
        limit = standin.whole_number(request.args, "limit", SHOWN_MAILS, range(1, KEPT_MAILS + 1))
        return {"items": [_shown(summary) for summary in inbox.latest(limit, _recipient())]}

    @app.get(f"/{secret}/messages/<mail_id>")
    def get_message(mail_id: str) -> dict[str, Any]:
        mail = _found(inbox, mail_id)
        attachments = [asdict(attachment) for attachment in mail.attachments]
        parts = {"headers": mail.headers, "text": mail.text, "html": mail.html, "attachments": attachments}
        return _shown(mail.summary) | parts

    return app


def _recipient() -> str:
    recipient = request.args.get("to", "").strip()
    if len(recipient) > MAX_ADDRESS_LENGTH:
        raise standin.InvalidField("to", f"must be an address of at most {MAX_ADDRESS_LENGTH} characters")
    return recipient


def _found(inbox: Inbox, mail_id: str) -> Letter:
    return inbox.read(mail_id) or abort(404, "Mail not found; only the latest are kept.")


def _shown(summary: Summary) -> dict[str, Any]:
    return asdict(summary) | {"received_at": summary.received_at.isoformat(timespec="milliseconds")}


def _guarded(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", OUR_PAGE)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response
