"""Mails with an account token, fetched just before sending so that it is stored nowhere here."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from chassis.base.problems import Problem
from chassis.clients import Client, NotThere
from chassis.storage import store
from services.notifications.channels.message import Message, NotTaken
from services.notifications.content import render
from services.notifications.models import Contact, Preferences
from services.notifications.settings import Settings

REQUESTED = frozenset({"account.email_verification", "account.password_reset"})

_users = Client("users")


class Request(BaseModel):
    email: str
    token: str
    expires_at: datetime


class RequestExpired(Exception):
    """Or already used."""


def complete(message: Message, kind: str, user_id: UUID, request_id: UUID) -> Message:
    """Raises RequestExpired, and NotTaken when users is unavailable."""
    settings = Settings.current()
    try:
        request = Request.model_validate(_users.get(f"/internal/requests/{request_id}", {}, settings))
    except NotThere as error:
        raise RequestExpired from error
    except (Problem, ValidationError) as error:
        raise NotTaken(f"users: {error}") from error
    with store.transaction():
        contact = Contact.get_for_update(user_id)
        zone = Preferences.of(user_id).zone(contact.time_zone).key
    page = settings.verification_url if kind == "account.email_verification" else settings.reset_url
    facts: dict[str, Any] = {
        "link": page.replace("{token}", request.token),
        "token": request.token,
        "expires_at": request.expires_at,
    }
    content = render(
        kind, locale=contact.locale, time_zone=zone, name=contact.name_for(request.email), unsubscribe="", **facts
    )
    return replace(message, recipient=request.email, text=content.text, html=content.html)
