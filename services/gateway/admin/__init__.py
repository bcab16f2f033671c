"""The admin port: the configuration and its replacement, health, metrics, and the API documentation."""
