"""The edge without Kong: a Flask application that executes the same `kong/kong.yml` with the same results."""
