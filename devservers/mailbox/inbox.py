"""The latest mails, in a Maildir."""

import mailbox
import re
import threading
from collections import deque
from collections.abc import Sequence
from email.header import Header
from pathlib import Path

from devservers.mailbox.letter import Letter, Summary, read_letter, read_summary

KEPT_MAILS = 1_000
# Maildir names: seconds, microseconds, process, count.
NAME = re.compile(r"(\d+)\.M(\d+)P\d+Q(\d+)\.")


class Inbox:
    """Must be the folder's only writer."""

    def __init__(self, directory: Path, kept: int = KEPT_MAILS) -> None:
        for name in ("tmp", "new", "cur"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._turn = threading.Lock()
        self._kept = kept
        self._folder = mailbox.Maildir(directory)
        self._summaries = deque(
            _summary(name, self._folder.get_bytes(name)) for name in sorted(self._folder.keys(), key=_age)
        )
        self._drop_oldest()

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> None:
        """Durable on return."""
        # Before the mail's own headers, so that forged ones come second.
        envelope = f"X-Envelope-From: {_encoded(sender)}\r\nX-Envelope-To: {_encoded(', '.join(recipients))}\r\n"
        mail = envelope.encode("ascii") + content
        with self._turn:
            name = self._folder.add(mail)
            # Not read back: looking up a new name scans the folder.
            self._summaries.append(_summary(name, mail))
            self._drop_oldest()

    def latest(self, limit: int, recipient: str = "") -> list[Summary]:
        """Newest first."""
        with self._turn:
            newest_first = list(reversed(self._summaries))
        chosen = [mail for mail in newest_first if not recipient or mail.is_for(recipient)]
        return chosen[:limit]

    def read(self, mail_id: str) -> Letter | None:
        with self._turn:
            summary = next((mail for mail in self._summaries if mail.id == mail_id), None)
            return read_letter(summary, self._folder.get_bytes(mail_id)) if summary else None

    def _drop_oldest(self) -> None:
        while len(self._summaries) > self._kept:
            self._folder.discard(self._summaries.popleft().id)


def _summary(name: str, content: bytes) -> Summary:
    seconds, microseconds, _ = _age(name)
    return read_summary(name, seconds + microseconds / 1e6, content)


def _age(name: str) -> tuple[int, int, int]:
    stamp = NAME.match(name)
    return (int(stamp[1]), int(stamp[2]), int(stamp[3])) if stamp else (0, 0, 0)


def _encoded(text: str) -> str:
    """One safe header line."""
    return Header("".join(char if char.isprintable() else "?" for char in text)).encode(maxlinelen=0)
