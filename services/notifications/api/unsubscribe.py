"""/notifications/unsubscribe/{token}: unsubscribe from a mail, without a login.

Mail scanners follow links, so GET only asks; the page or the mail program (RFC 8058) posts.
"""

from chassis.security import auth
from chassis.web.api import Resource, endpoint
from chassis.web.schemas import HTMLPage
from services.notifications import links
from services.notifications.content import parse_locale, render_page
from services.notifications.kinds import CHOOSABLE, EMAIL
from services.notifications.links import Subscription
from services.notifications.models import Contact, Preferences


class Unsubscribe(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, token: str) -> HTMLPage:
        """A page that asks for confirmation."""
        return _page(links.read_unsubscribe(token), is_done=False)

    @endpoint(allow=auth.ANYONE)
    def post(self, token: str) -> HTMLPage:
        """Unsubscribe from these mails. The body is ignored."""
        subscription = links.read_unsubscribe(token)
        contact = _contact(subscription)
        if contact is not None:
            preferences = Preferences.to_change(subscription.user_id)
            for name in _kinds(subscription):
                preferences.choose(name, EMAIL, wanted=False)
        return _page(subscription, is_done=True)


def _kinds(subscription: Subscription) -> list[str]:
    """A digest stands for all its possible kinds."""
    if subscription.kind in CHOOSABLE:
        return [subscription.kind]
    return [name for name, kind in CHOOSABLE.items() if kind.collectable]


def _contact(subscription: Subscription) -> Contact | None:
    """None if deleted."""
    contact = Contact.find_for_update(subscription.user_id)
    return contact if contact is not None and not contact.is_deleted else None


def _page(subscription: Subscription, is_done: bool) -> HTMLPage:
    contact = Contact.find_for_update(subscription.user_id)
    language = parse_locale(contact.locale if contact else None).language
    return HTMLPage(html=render_page("unsubscribe.page.html", language, is_done=is_done))
