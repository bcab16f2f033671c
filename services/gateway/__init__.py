"""The edge without Kong: executes the same `kong/kong.yml` with the same results."""
