"""The tables of users; a model's methods are the only ways to change its rows."""

from sqlalchemy.orm import DeclarativeBase

from chassis.storage import postgres


class Base(DeclarativeBase):
    type_annotation_map = postgres.COLUMN_TYPES
