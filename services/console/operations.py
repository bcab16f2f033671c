"""Staff's pages for what was given up: dead letters of every service, orders that wait or are stuck, and who did what about them."""

from typing import Any
from uuid import UUID

from flask import render_template, request, url_for

from chassis.storage.trail import TERMINAL
from services.console import api
from services.console.pages import Pages
from services.console.staff import asked

pages = Pages("operations", __name__, url_prefix="/staff")

ANY_SERVICE = f"any({', '.join(api.SERVICES)})"

MAX_SHOWN = 50
MAX_NAMED = 20
"""Operators, each read from the users service."""


@pages.page("/dead-letters", allow="staff")
def dead_letters() -> str:
    found = api.each(**{name: f"/{name}/operations/dead-letters" for name in api.SERVICES})
    return render_template("staff/dead_letters.html", found=found)


@pages.page(f"/dead-letters/<{ANY_SERVICE}:service>/<letter_id>", allow="staff")
def dead_letter(service: str, letter_id: str) -> str:
    letter = api.get(f"/{service}/operations/dead-letters/{api.segment(letter_id)}")
    return render_template("staff/dead_letter.html", service=service, letter=letter)


@pages.page(f"/dead-letters/<{ANY_SERVICE}:service>/<letter_id>/replay", allow="staff", methods=("POST",))
def replay(service: str, letter_id: str) -> Any:
    path = f"/{service}/operations/dead-letters/{api.segment(letter_id)}"
    title = f"Replay dead letter {letter_id[:8]}"
    if "sure" not in request.form:
        letter = api.get(path)
        title = f"Replay {letter['type']}, which sends it to {letter['to']}"
    return asked(title, _by(f"{path}/replay"), url_for("operations.dead_letters"))


@pages.page("/orders/<uuid:order_id>/saga/<any(resume, compensate):action>", allow="staff", methods=("POST",))
def mend(order_id: UUID, action: str) -> Any:
    path = f"/orders/operations/sagas/{order_id}"
    steps = ", ".join(each["command"] for each in api.get(path)["steps"])
    titles = {
        "resume": f"Resume order {str(order_id)[:8]}: send {steps or 'what is still owed'} again",
        "compensate": f"Compensate order {str(order_id)[:8]}: cancel it, and undo its steps",
    }
    return asked(titles[action], _by(f"{path}/{action}"), url_for("staff.order", order_id=order_id))


def _by(path: str) -> Any:
    """By the service, which keeps it in its trail. The form's key makes two clicks one action."""
    return lambda why: api.post(path, {"why": why}, key=request.form.get("key", ""))


@pages.page("/trail", allow="staff")
def trail() -> str:
    found = api.each(**{name: f"/{name}/operations/actions?limit={MAX_SHOWN}" for name in api.SERVICES})
    actions = [{**each, "service": name} for name, kept in found.items() if kept for each in kept["items"]]
    actions = sorted(actions, key=lambda each: str(each["at"]), reverse=True)[:MAX_SHOWN]
    missing = [kept for kept in found.values() if not kept]
    return render_template("staff/trail.html", actions=actions, missing=missing, names=names(actions))


def names(actions: list[dict[str, Any]]) -> dict[str, str]:
    """Operators' addresses by id."""
    ids = [by for by in dict.fromkeys(each["by"] for each in actions) if by != str(TERMINAL)][:MAX_NAMED]
    read = api.each(**{by: f"/users/{by}" for by in ids}) if ids else {}
    return {by: user["email"] for by, user in read.items() if user}
