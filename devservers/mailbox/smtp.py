"""Accepts every mail, with 250 once it is on disk."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from socket import create_connection

from aiosmtpd.smtp import SMTP, Envelope, Session

from devservers.mailbox.inbox import Inbox

MAX_MAIL_BYTES = 1_000_000
MAX_RECIPIENTS = 100
IDLE_SECONDS = 60


class Delivery:
    """aiosmtpd's handler."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        sender = envelope.mail_from or ""
        try:
            # fsync would block other connections.
            await asyncio.to_thread(self._inbox.add, sender, envelope.rcpt_tos, content)
        except OSError as error:
            return f"451 4.3.0 The mail could not be stored: {error.strerror}"
        return "250 OK"


@contextmanager
def receiving(inbox: Inbox, host: str, port: int) -> Iterator[int]:
    """Serve in a thread; yields the port (0 picks a free one)."""
    loop = asyncio.new_event_loop()
    protocol = partial(
        SMTP,
        Delivery(inbox),
        data_size_limit=MAX_MAIL_BYTES,
        enable_SMTPUTF8=True,
        hostname="mailbox",
        ident="Souk",
        loop=loop,
        timeout=IDLE_SECONDS,
    )
    server = loop.run_until_complete(loop.create_server(protocol, host, port))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(_end(loop))
        loop.close()


def is_listening(host: str, port: int, timeout_seconds: float = 1.0) -> bool:
    try:
        with create_connection((host, port), timeout_seconds) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Finish mails being written; those without a 250 are sent again."""
    others = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_default_executor()
