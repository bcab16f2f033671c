"""Validation errors in our own words."""

import re
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema
from pydantic_core.core_schema import ErrorType

from chassis.base.problems import MAX_ERRORS

_MAX_FIELD_LENGTH = 100
_MAX_MESSAGE_LENGTH = 300

_PYDANTIC_TYPES = frozenset(get_args(ErrorType))
_LIST, _OBJECT, _INTEGER, _NUMBER = "must be a list", "must be an object", "must be an integer", "must be a number"
_BOOLEAN, _UUID, _URL = "must be true or false", "must be a UUID", "must be a URL"
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "none_required": "must be null",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "invalid_key": "must be a string",
    "string_pattern_mismatch": "has the wrong form",
    "recursion_loop": "must not contain itself",
    "json_invalid": "must be valid JSON",
    "json_type": "must be JSON",
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), _INTEGER),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOLEAN),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), _OBJECT),
    **dict.fromkeys(("uuid_type", "uuid_parsing", "uuid_version"), _UUID),
    **dict.fromkeys(("url_type", "url_parsing", "url_syntax_violation", "url_too_long", "url_scheme"), _URL),
}


@dataclass(frozen=True)
class Matches:
    """The whole text must match."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise PydanticCustomError("form", self.message)
        return text


def shortened(name: str) -> str:
    return name if len(name) <= _MAX_FIELD_LENGTH else f"{name[:_MAX_FIELD_LENGTH]}…"


def field(error: ErrorDetails) -> str:
    """The dotted path, shortened."""
    return shortened(".".join(map(str, error["loc"])))


def message(error: ErrorDetails) -> str:
    """Reads on from the field's name."""
    context = error.get("ctx", {})
    kind = error["type"]
    if context.get("field_type") == "Value":  # a secret string
        kind = f"string_{kind}"
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])[:_MAX_MESSAGE_LENGTH]
    if kind in ("string_too_short", "too_short") and context["min_length"] == 1:
        return "must not be empty"
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**context)[:_MAX_MESSAGE_LENGTH]
    return "is invalid" if kind in _PYDANTIC_TYPES else error["msg"][:_MAX_MESSAGE_LENGTH]


def summary(error: ValidationError) -> str:
    """Omits values, which may be secret."""
    errors = error.errors(include_url=False, include_input=False)
    listed = "; ".join(f"{field(each)}: {message(each)}" for each in errors[:MAX_ERRORS])
    more = len(errors) - MAX_ERRORS
    return f"{listed}; and {more:,} more" if more > 0 else listed
