"""The declarative file: its template, its schema, its entities and its errors."""
