"""`python -m services.sidecar`: keep the entry true until SIGTERM, then drain and take it out."""

import signal
import threading

from services.sidecar import health, settings
from services.sidecar.sidecar import Sidecar


def main() -> None:
    told = settings.read()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    sidecar = Sidecar(told)
    health.serve(sidecar, told)
    sidecar.run(stopping)


if __name__ == "__main__":
    main()
