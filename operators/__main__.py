"""`python -m operators`: all of them, in the pod's namespace, until SIGTERM."""

import sys

from operators import process
from operators.kubernetes import Refused, Unavailable
from operators.settings import Settings


def main() -> None:
    settings = Settings.current()
    settings.require("metrics_url")
    try:
        process.run(settings)
    except (Refused, Unavailable) as error:
        print(f"The operators cannot start: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
