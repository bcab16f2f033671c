"""Register, log in, log out, profile and preferences."""

import secrets
from typing import Any

from flask import abort, flash, redirect, render_template, request, url_for
from structlog import get_logger
from werkzeug.wrappers import Response

from chassis.base.problems import Problem
from services.console import api, person
from services.console.pages import Pages, own_path
from services.console.settings import ConsoleSettings

log = get_logger(__name__)

pages = Pages("account", __name__, url_prefix="/account")

CHANNELS = ("email", "sms", "push")


@pages.page("/login", allow="anyone")
def login() -> str:
    return _login_page()


@pages.page("/login", allow="anyone", methods=("POST",))
def log_in() -> Any:
    email = request.form.get("email", "").strip()
    try:
        tokens = api.send("POST", "/users/login", {"email": email, "password": request.form.get("password", "")})
    except api.Refusal as refusal:
        return _login_page(refusal, email), refusal.status
    person.begin(tokens, email.partition("@")[0])
    return redirect(own_path(request.form.get("next", "")), 303)


def _login_page(refusal: api.Refusal | None = None, email: str = "") -> str:
    return render_template("login.html", refusal=refusal, email=email, next=request.values.get("next", ""))


@pages.page("/register", allow="anyone")
def registration() -> str:
    return render_template("register.html", refusal=None, given={}, next=request.args.get("next", ""))


@pages.page("/register", allow="anyone", methods=("POST",))
def register() -> Any:
    names = ("email", "username", "first_name", "last_name")
    given = {name: request.form.get(name, "").strip() for name in names}
    password = request.form.get("password", "")
    body = {name: value for name, value in given.items() if value} | {"password": password}
    try:
        api.send("POST", "/users/register", body)
        tokens = api.send("POST", "/users/login", {"email": given["email"], "password": password})
    except api.Refusal as refusal:
        page = render_template("register.html", refusal=refusal, given=given, next=request.form.get("next", ""))
        return page, refusal.status
    person.begin(tokens, given["first_name"] or given["username"])
    return redirect(own_path(request.form.get("next", "")), 303)


@pages.page("/demo", allow="anyone", methods=("POST",))
def demo() -> Response:
    """A new customer. Development only."""
    if not ConsoleSettings.current().is_development:
        abort(404)
    sign_up()
    return redirect(own_path(request.form.get("next", "")), 303)


def sign_up() -> None:
    """Whose password nobody knows."""
    name = f"mina.{secrets.token_hex(4)}"
    account = {"email": f"{name}@example.com", "password": secrets.token_urlsafe(16)}
    api.send("POST", "/users/register", {**account, "username": name, "first_name": "Mina", "last_name": "Okafor"})
    person.begin(api.send("POST", "/users/login", account), "Mina")


@pages.page("/logout", allow="anyone", methods=("POST",))
def log_out() -> Response:
    failure = None
    try:
        if person.current() is not None:
            api.post("/users/logout")
    except api.LoggedOut:
        pass  # it had ended
    except (api.Refusal, Problem) as error:
        failure = error
    person.end()
    if failure is not None:
        flash(
            "This browser is logged out, but the users service did not end the session."
            " If someone else may have it, log in again and log out once more.",
            "error",
        )
        log.warning("session not ended", error=str(failure))
    return redirect(url_for("start.home"), 303)


@pages.page("/", allow="customer")
def profile() -> str:
    return _profile_page()


@pages.page("/profile", allow="customer", methods=("POST",))
def change_profile() -> Any:
    names = ("email", "username", "first_name", "last_name")
    body = {name: value for name in names if (value := request.form.get(name, "").strip())}
    return _changed(lambda: api.call("PUT", f"/users/{person.required().id}", body), "Your profile is saved.")


@pages.page("/preferences", allow="customer", methods=("POST",))
def change_preferences() -> Any:
    who = person.required().id
    form = request.form
    body = {
        "locale": form.get("locale", "en"),
        "currency": form.get("currency", "EUR"),
        "time_zone": form.get("time_zone", "UTC"),
        "marketing_consent": "marketing_consent" in form,
        "notify_by": [channel for channel in CHANNELS if f"notify_by_{channel}" in form],
        "is_public": "is_public" in form,
    }
    return _changed(lambda: api.call("PUT", f"/users/{who}/preferences", body), "Your preferences are saved.")


@pages.page("/notifications", allow="customer", methods=("POST",))
def change_notifications() -> Any:
    who = person.required().id
    path = f"/notifications/{who}/preferences"
    before, form = api.get(path), request.form
    channels = {
        # About the account itself there is no choice.
        kind: offered if kind.startswith("account.") else {each: f"{kind}:{each}" in form for each in offered}
        for kind, offered in before["channels"].items()
    }
    begin, end = form.get("quiet_begin", ""), form.get("quiet_end", "")
    body = {
        "channels": channels,
        "phone": form.get("phone", "").strip() or None,
        "time_zone": form.get("quiet_zone", "").strip() or None,
        "quiet_hours": {"begin": begin, "end": end} if begin or end else None,
        "digest": form.get("digest", before["digest"]),
        "digest_hour": before["digest_hour"],
    }
    return _changed(lambda: api.call("PUT", path, body), "Your notifications are saved.")


def _changed(change: Any, said: str) -> Any:
    try:
        change()
    except api.Refusal as refusal:
        return _profile_page(refusal), refusal.status
    flash(said)
    return redirect(url_for("account.profile"), 303)


def _profile_page(refusal: api.Refusal | None = None) -> str:
    who = person.required().id
    read = api.each(
        user=f"/users/{who}", preferences=f"/users/{who}/preferences", notifications=f"/notifications/{who}/preferences"
    )
    return render_template("account.html", refusal=refusal, channels=CHANNELS, **read)
