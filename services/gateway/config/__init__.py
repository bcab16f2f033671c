"""The declarative file: its template, its schema, its entities, and what is wrong with it."""
