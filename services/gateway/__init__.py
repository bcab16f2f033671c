"""The edge where there is no Kong: a Flask application that executes the same `kong/kong.yml`, with the same answers."""
