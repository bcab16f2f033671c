"""What every service stands on: HTTP edge, messages, transactions, clients, auth, telemetry. It knows no service."""

import sys

# structlog imports rich, where it is installed, for coloured tracebacks that JSON logs never show: 9 MB in every process.
_HIDES_RICH = "rich" not in sys.modules
if _HIDES_RICH:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog.dev  # noqa: E402, F401

if _HIDES_RICH:
    del sys.modules["rich"]
