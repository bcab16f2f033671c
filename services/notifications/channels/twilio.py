"""SMS by Twilio, which has no idempotency keys: after a lost response, search before sending again."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from services.notifications.channels.message import Message, NotTaken, Refused, Unknown

if TYPE_CHECKING:
    from twilio.rest import Client

MAX_CLOCK_SKEW = timedelta(minutes=2)
"""Twilio's clock behind ours."""

_BUSY = 429


class Twilio:
    def __init__(self, url: str, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        self._account, self._token = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender = unquote(parts.path.removeprefix("/"))
        port = f":{parts.port}" if parts.port else ""
        self._base_url = f"{'http' if parts.scheme == 'twilio+http' else 'https'}://{parts.hostname}{port}"
        self._timeout_seconds = timeout_seconds
        self.name = f"twilio {self._account}"

    def send(self, message: Message) -> str:
        from requests.exceptions import ConnectTimeout, RequestException
        from twilio.base.exceptions import TwilioRestException
        from urllib3.exceptions import NewConnectionError

        try:
            sent = self._client().messages.create(to=message.recipient, from_=self._sender, body=message.text)
        except TwilioRestException as error:
            if error.status == _BUSY:
                raise NotTaken(f"{error.status} {error.msg}") from error
            if error.status < 500:
                raise _failure(error.status, error.code, error.msg) from error
            raise Unknown(f"{error.status} {error.msg}") from error
        except ConnectTimeout as error:
            raise NotTaken(type(error).__name__) from None
        except RequestException as error:
            # NewConnectionError: nothing was sent.
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            kind = NotTaken if isinstance(reason, NewConnectionError) else Unknown
            # Not chained: may contain the phone number.
            raise kind(type(error).__name__) from None
        except (ValueError, TypeError, LookupError, AttributeError):
            # The library reads a response without checking it.
            raise Unknown("Invalid response") from None
        return str(sent.sid)

    def find(self, message: Message, since: datetime) -> str | None:
        from requests.exceptions import RequestException
        from twilio.base.exceptions import TwilioRestException

        try:
            # Newest first. Queued messages lack date_sent.
            sent = self._client().messages.list(to=message.recipient, from_=self._sender, limit=50)
        except (TwilioRestException, RequestException, ValueError, TypeError, LookupError, AttributeError) as error:
            raise NotTaken(type(error).__name__) from None
        earliest = since - MAX_CLOCK_SKEW
        same = [each for each in sent if each.body == message.text and (each.date_created or earliest) >= earliest]
        return str(same[0].sid) if same else None

    def _client(self) -> "Client":
        from twilio.http.http_client import TwilioHttpClient
        from twilio.rest import Client

        # One per message: its session is not thread-safe.
        client = Client(self._account, self._token, http_client=TwilioHttpClient(timeout=self._timeout_seconds))
        client.api.base_url = self._base_url
        return client


def _failure(status: int, code: int | None, message: str) -> Exception:
    """With wrong credentials the message waits."""
    text = f"{status} {code} {message}"
    return NotTaken(text) if status in (401, 403, 404) else Refused(text)
