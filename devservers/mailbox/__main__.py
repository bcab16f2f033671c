"""`python -m devservers.mailbox`."""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from devservers import standin
from devservers.mailbox.inbox import Inbox
from devservers.mailbox.pages import create_app
from devservers.mailbox.smtp import is_listening, receiving


def main() -> None:
    stopping = standin.stop_signal()
    host, smtp_port = standin.host(), standin.port_number("SOUK_SMTP_PORT")
    inbox = Inbox(Path(standin.environment("SOUK_MAIL_DIRECTORY")))
    app = create_app(inbox, partial(is_listening, host, smtp_port))
    with ExitStack() as stack:
        stack.enter_context(standin.listening(app, host, standin.port_number("SOUK_PORT")))
        try:
            stack.enter_context(receiving(inbox, host, smtp_port))
        except OSError as error:
            sys.exit(f"The mailbox cannot listen on {host}:{smtp_port}: {error.strerror}")
        stopping.wait()


if __name__ == "__main__":
    main()
