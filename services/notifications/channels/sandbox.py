"""Development SMS, sent as mails to the development mailbox."""

import smtplib
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from urllib.parse import urlsplit

from services.notifications.channels.message import Message, NotTaken, Unknown

SENDER = "sms@sandbox.invalid"


def mailbox_address(number: str) -> str:
    return f"{number}@sms.invalid"


class SandboxSMS:
    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url, self._timeout_seconds = urlsplit(url), timeout_seconds
        self.name = "sms sandbox"

    def find(self, message: Message, since: datetime) -> str | None:
        return None

    def send(self, message: Message) -> str:
        mail = EmailMessage(policy=SMTP_POLICY.clone(cte_type="7bit"))
        mail["From"], mail["To"] = SENDER, mailbox_address(message.recipient)
        mail["Subject"] = f"SMS to {message.recipient}"
        mail.set_content(message.text)
        assert self._url.hostname is not None
        try:
            server = smtplib.SMTP(self._url.hostname, self._url.port or 2525, "sandbox", timeout=self._timeout_seconds)
        except OSError as error:
            raise NotTaken(repr(error)) from error
        try:
            with server:
                server.send_message(mail)
        except OSError as error:
            raise Unknown(repr(error)) from error
        return ""
