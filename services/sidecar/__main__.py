"""`python -m services.sidecar`: keep the entry up to date until SIGTERM, then drain the instance and deregister it."""

import signal
import threading

from services.sidecar import health, settings
from services.sidecar.sidecar import Sidecar


def main() -> None:
    current = settings.read()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    sidecar = Sidecar(current)
    health.serve(sidecar, current)
    sidecar.run(stopping)


if __name__ == "__main__":
    main()
