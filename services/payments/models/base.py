"""The declarative base of the tables that payments keeps."""

from sqlalchemy.orm import DeclarativeBase

from chassis import db


class Base(DeclarativeBase):
    type_annotation_map = db.COLUMN_TYPES
