"""The declarative file."""
