"""Many products at once: rows of a file, what becomes of them, and imports that may be interrupted."""
