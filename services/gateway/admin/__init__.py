"""The admin port: what is in force, its change, its health and numbers; and the documentation that the edge shows."""
