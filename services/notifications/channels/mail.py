"""E-mail by SMTP."""

import re
import smtplib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from email_validator import EmailNotValidError, validate_email

from services.notifications.channels.message import Message, NotTaken, Refused, Unknown
from services.notifications.settings import Settings

# Not every server supports 8BITMIME.
_POLICY = SMTP_POLICY.clone(cte_type="7bit")

# Stricter than the standard: the policy alone accepts a trailing line break and an encoded word.
_ADDRESS = re.compile(r"""(?!.*=\?)[^\s@"<>(),:;\[\]\\]+@[^\s@"<>(),:;\[\]\\]+""")


def compose(message: Message, sender: str) -> EmailMessage:
    """Deterministic, so that a resent mail is recognized as a copy. Raises Refused.

    To is the bare address, as a name could inject headers.
    """
    if not (_ADDRESS.fullmatch(message.recipient) and message.recipient.isprintable()):
        raise Refused("The recipient is not a valid address.")
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = for_smtp(message.recipient)
    mail["Subject"] = " ".join(message.subject.split())
    mail["Date"] = format_datetime(message.created_at)
    mail["Message-ID"] = f"<{message.id}@{_domain(sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    if message.unsubscribe:
        # One-click unsubscribe (RFC 8058).
        mail["List-Unsubscribe"] = f"<{message.unsubscribe}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail


def for_smtp(address: str) -> str:
    """With the domain's A-label (RFC 5890) unless the local part needs SMTPUTF8 anyway. Raises Refused without one."""
    local, _, domain = address.rpartition("@")
    if domain.isascii() or not local.isascii():
        return address
    try:
        return validate_email(address, check_deliverability=False).ascii_email or address
    except EmailNotValidError:
        raise Refused("The recipient's domain is not valid.") from None


_connections = threading.local()
"""By URL."""


class MailServer:
    """SMTP has no lookups: a mail is sent again with the same Message-ID."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url, self._settings = urlsplit(url), settings
        self.name = f"smtp {self._url.hostname}:{self._url.port or ''}".rstrip(":")

    def find(self, message: Message, since: datetime) -> str | None:
        return None

    def send(self, message: Message) -> str:
        mail = compose(message, self._settings.mail_from)
        try:
            with self._connected() as server:
                self._hand_over(server, mail, for_smtp(message.recipient))
        except Unknown:
            raise
        except OSError as error:
            raise NotTaken(repr(error)) from error
        return str(mail["Message-ID"])

    def _hand_over(self, server: smtplib.SMTP, mail: EmailMessage, recipient: str) -> None:
        try:
            server.send_message(mail, parseaddr(self._settings.mail_from)[1], [recipient])
        except smtplib.SMTPRecipientsRefused as error:
            _raise_if_permanent(*error.recipients[recipient])
            raise
        except smtplib.SMTPDataError as error:
            _raise_if_permanent(error.smtp_code, error.smtp_error)
            raise
        except smtplib.SMTPNotSupportedError as error:
            raise Refused(f"The mail server does not support this address: {error}") from error

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """One connection per thread is kept for the next mail, unless an error leaves it in doubt."""
        server = self._kept() or self._connect()
        try:
            yield server
        except BaseException:
            server.close()
            raise
        _connections.__dict__[self._url.geturl()] = server

    def _kept(self) -> smtplib.SMTP | None:
        server: smtplib.SMTP | None = _connections.__dict__.pop(self._url.geturl(), None)
        if server is None:
            return None
        with suppress(OSError):
            # Servers close idle connections.
            if server.noop()[0] == 250:
                return server
        server.close()
        return None

    def _connect(self) -> smtplib.SMTP:
        server = self._open()
        try:
            _secure(server, self._url)
        except BaseException:
            server.close()
            raise
        return server

    def _open(self) -> smtplib.SMTP:
        url = self._url
        assert url.hostname is not None
        # smtplib's default is a slow DNS lookup.
        local_hostname, timeout = _domain(self._settings.mail_from), self._settings.smtp_timeout_seconds
        if url.scheme == "smtps":
            context = ssl.create_default_context()
            return _TLSClient(url.hostname, url.port or 465, local_hostname, timeout=timeout, context=context)
        return _Client(url.hostname, url.port or 25, local_hostname, timeout=timeout)


class _Client(smtplib.SMTP):
    """Raises Unknown from the mail's first byte on, unless the server refuses it."""

    def data(self, msg: Any) -> tuple[int, bytes]:
        try:
            return super().data(msg)
        except smtplib.SMTPDataError:
            raise
        except OSError as error:
            raise Unknown(repr(error)) from error


class _TLSClient(_Client, smtplib.SMTP_SSL):
    pass


def _secure(server: smtplib.SMTP, url: SplitResult) -> None:
    """TLS where offered, always with a password. Raises smtplib's errors."""
    server.ehlo_or_helo_if_needed()
    if url.scheme == "smtp" and (url.username or server.has_extn("starttls")):
        server.starttls(context=ssl.create_default_context())
    if url.username:
        server.login(unquote(url.username), unquote(url.password or ""))


def _raise_if_permanent(code: int, reason: bytes | str) -> None:
    """Raises Refused for 5yz (RFC 5321)."""
    if 500 <= code < 600:
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise Refused(f"{code} {text}")


def _domain(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2]
