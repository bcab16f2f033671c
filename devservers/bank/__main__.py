"""Run the bank: `python -m devservers.bank`."""

from pathlib import Path

from devservers import standin
from devservers.bank import create_app
from devservers.bank.settings import Settings
from devservers.bank.webhooks import Endpoint


def main() -> None:
    settings = standin.read(Settings)
    store_path = Path(settings.bank_directory) / "bank.sqlite3" if settings.bank_directory else None
    stopping = standin.stop_signal()
    webhooks = None
    if settings.bank_webhook_url:
        webhooks = Endpoint(settings.bank_webhook_url, settings.sandbox_webhook_secret)
    app = create_app(store_path, settings.sandbox_key, stopping, webhooks=webhooks)
    with standin.listening(app, settings.host, settings.port):
        stopping.wait()


if __name__ == "__main__":
    main()
