"""The e-mail channel: composes a mail from a notification and hands it to the mail server."""

import re
import smtplib
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from urllib.parse import SplitResult, unquote, urlsplit

from services.notifications.models import Notification
from services.notifications.settings import Settings

# Bodies as quoted-printable or base64: not every server takes 8 bits.
_POLICY = SMTP_POLICY.clone(cte_type="7bit")

# Stricter than the standard, as the users service is. The policy alone lets a line break at a header's end through,
# decodes an encoded word within an address, and fails in many ways on what is no address.
_ADDRESS = re.compile(r"""(?!.*=\?)[^\s@"<>(),:;\[\]\\]+@[^\s@"<>(),:;\[\]\\]+""")


class Refused(Exception):
    """This mail will not be taken, now or later."""


def compose(notification: Notification, sender: str) -> EmailMessage:
    """The mail, in plain text and HTML. Composed again it is the same, so that a reader can drop a second copy.

    No name comes into a header: To is the bare address. Raises Refused when that is none.
    """
    if not (_ADDRESS.fullmatch(notification.recipient) and notification.recipient.isprintable()):
        raise Refused("The recipient is no address.")
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = notification.recipient
    mail["Subject"] = " ".join(notification.subject.split())
    mail["Date"] = format_datetime(notification.created_at)
    mail["Message-ID"] = f"<{notification.id}@{_domain(sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(notification.text)
    mail.add_alternative(notification.html, subtype="html")
    return mail


def send(notification: Notification, settings: Settings) -> None:
    """Returns when the server has taken the mail. Raises Refused when it never will, OSError (as all smtplib's) when it may."""
    mail = compose(notification, settings.mail_from)
    url = urlsplit(settings.smtp_url)
    with closing(_connect(url, settings)) as server:
        _secure(server, url)
        try:
            server.send_message(mail, parseaddr(settings.mail_from)[1], [notification.recipient])
        except smtplib.SMTPRecipientsRefused as error:
            _judge(*error.recipients[notification.recipient])
            raise
        except smtplib.SMTPDataError as error:
            _judge(error.smtp_code, error.smtp_error)
            raise
        except smtplib.SMTPNotSupportedError as error:
            raise Refused(f"The mail server does not know such addresses: {error}") from error
        # The mail is taken, whatever the server says to the farewell.
        with suppress(OSError):
            server.quit()


def _connect(url: SplitResult, settings: Settings) -> smtplib.SMTP:
    assert url.hostname is not None
    # We say who we are: smtplib would ask the name service, which can take long where there is none.
    ourselves, timeout = _domain(settings.mail_from), settings.smtp_timeout_seconds
    if url.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(url.hostname, url.port or 465, ourselves, timeout=timeout, context=context)
    return smtplib.SMTP(url.hostname, url.port or 25, ourselves, timeout=timeout)


def _secure(server: smtplib.SMTP, url: SplitResult) -> None:
    """TLS where it is offered; a password makes it a must. Raises smtplib's errors."""
    server.ehlo_or_helo_if_needed()
    if url.scheme == "smtp" and (url.username or server.has_extn("starttls")):
        server.starttls(context=ssl.create_default_context())
    if url.username:
        server.login(unquote(url.username), unquote(url.password or ""))


def _judge(code: int, reason: bytes | str) -> None:
    """Raises Refused for a reply that is final by RFC 5321 (5yz)."""
    if 500 <= code < 600:
        words = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise Refused(f"{code} {words}")


def _domain(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2]
