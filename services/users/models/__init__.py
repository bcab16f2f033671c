"""The tables. Rows change only through the methods of their models."""

from sqlalchemy.orm import DeclarativeBase

from chassis.storage import postgres


class Base(DeclarativeBase):
    type_annotation_map = postgres.COLUMN_TYPES
