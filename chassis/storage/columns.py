"""Column types for money and structured JSON."""

from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Dialect, Numeric
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator


class MinorUnits(TypeDecorator[int]):
    """Minor units (cents) in Python, NUMERIC(10, 2) in PostgreSQL."""

    impl = Numeric(10, 2)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-2)

    def process_result_value(self, value: Decimal | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value.scaleb(2))


class PydanticJSON(TypeDecorator[Any]):
    """JSONB, validated as `model` (any pydantic type) on load. Changes in place are not noticed."""

    impl = JSONB
    cache_ok = True

    def __init__(self, model: Any) -> None:
        super().__init__(none_as_null=True)
        self.model = model
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self._adapter.dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self._adapter.validate_python(value)
