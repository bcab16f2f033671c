"""The declarative base of this service's models."""

from sqlalchemy.orm import DeclarativeBase

from chassis.storage import postgres


class Base(DeclarativeBase):
    type_annotation_map = postgres.COLUMN_TYPES
