"""The tables, changed only by their models' methods."""

from sqlalchemy.orm import DeclarativeBase

from chassis.storage import postgres


class Base(DeclarativeBase):
    type_annotation_map = postgres.COLUMN_TYPES
