"""Messages between services: the envelope, the broker, the relay that sends, the handlers that receive."""
