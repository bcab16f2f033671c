"""The declarative base of this service's models."""

from sqlalchemy.orm import DeclarativeBase

from chassis import db


class Base(DeclarativeBase):
    type_annotation_map = db.COLUMN_TYPES
