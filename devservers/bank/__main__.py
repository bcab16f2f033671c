"""Run the bank: `python -m devservers.bank`."""

from pathlib import Path

from devservers import standin
from devservers.bank import create_app
from devservers.bank.webhooks import Endpoint


def main() -> None:
    directory = standin.environment("SOUK_BANK_DIRECTORY", "")
    store_path = Path(directory) / "bank.sqlite3" if directory else None
    stopping = standin.stop_signal()
    url = standin.environment("SOUK_BANK_WEBHOOK_URL", "")
    webhooks = Endpoint(url, standin.environment("SOUK_SANDBOX_WEBHOOK_SECRET")) if url else None
    app = create_app(store_path, standin.environment("SOUK_SANDBOX_KEY"), stopping, webhooks=webhooks)
    with standin.listening(app, standin.host(), standin.port_number("SOUK_PORT")):
        stopping.wait()


if __name__ == "__main__":
    main()
