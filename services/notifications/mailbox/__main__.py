"""Runs the mailbox: `python -m services.notifications.mailbox`."""

import sys
from functools import partial
from pathlib import Path

from services import standin
from services.notifications.mailbox.inbox import Inbox
from services.notifications.mailbox.pages import create_app
from services.notifications.mailbox.smtp import answers, receiving


def main() -> None:
    stopping = standin.stop_signal()
    inbox = Inbox(Path(standin.environment("SOUK_MAIL_DIRECTORY")))
    host, smtp_port, port = standin.host(), standin.port_number("SOUK_SMTP_PORT"), standin.port_number("SOUK_PORT")
    try:
        with receiving(inbox, host, smtp_port) as receiving_port:
            app = create_app(inbox, partial(answers, host, receiving_port))
            with standin.listening(app, host, port):
                stopping.wait()
    except OSError as error:
        sys.exit(f"The mailbox cannot listen on {host}:{smtp_port}: {error.strerror}")


if __name__ == "__main__":
    main()
