"""`python -m devservers.mailbox`."""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from devservers import standin
from devservers.mailbox.inbox import Inbox
from devservers.mailbox.pages import create_app
from devservers.mailbox.settings import Settings
from devservers.mailbox.smtp import is_listening, receiving


def main() -> None:
    stopping = standin.stop_signal()
    settings = standin.read(Settings)
    host, smtp_port = settings.host, settings.smtp_port
    inbox = Inbox(Path(settings.mail_directory))
    app = create_app(inbox, partial(is_listening, host, smtp_port), settings.mail_secret)
    with ExitStack() as stack:
        stack.enter_context(standin.listening(app, host, settings.port))
        try:
            stack.enter_context(receiving(inbox, host, smtp_port))
        except OSError as error:
            sys.exit(f"The mailbox cannot listen on {host}:{smtp_port}: {error.strerror}")
        stopping.wait()


if __name__ == "__main__":
    main()
