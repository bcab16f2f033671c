"""Field types of requests."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# Controls and invisible characters.
_NOT_IN_A_LINE = (
    "\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e"
    "\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff0-\\ufffb"
)
_LINE = re.compile(f"[^{_NOT_IN_A_LINE}]*")

JOINERS = "\u200c\u200d"
_SHAPED = (
    "\u0600-\u08ff"  # Arabic, Syriac, N'Ko, Mandaic
    "\u0900-\u0dff\ua8e0-\ua8ff"  # the scripts of India and Sri Lanka
    "\u0f00-\u109f\u1780-\u18af\u1900-\u1cff\ua980-\uaa7f\uabc0-\uabff"  # Tibet to Java, and Mongolian
    "\ufb50-\ufdff\ufe70-\ufefc\U00011000-\U00011fff\U0001e900-\U0001e95f"
)
_EMOJI = "\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_HIDDEN = re.compile(
    f"[{JOINERS}](?<![{_SHAPED}].)(?<![{_EMOJI}]\u200d)|[{JOINERS}](?![{_SHAPED}{_EMOJI}])|[\U000e0000-\U000e00ff]"
)
"""Tags, and joiners that are not between letters whose shapes they decide, or between emoji."""


@dataclass(frozen=True)
class OneLine:
    """A line of text, stripped: `Annotated[str, OneLine(100)]`."""

    max_length: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(strip_whitespace=True, min_length=1, max_length=self.max_length)
        return core_schema.no_info_after_validator_function(self._check, text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^[^{_NOT_IN_A_LINE}]+$"}

    @staticmethod
    def _check(text: str) -> str:
        is_based = unicodedata.category(text[0])[0] != "M"
        if _LINE.fullmatch(text) is None or _HIDDEN.search(text) or not is_based:
            raise PydanticCustomError("one_line", "must be one line without control or invisible characters")
        return text


_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})")
_FIRST, _LAST = date(2000, 1, 1), date(2999, 12, 31)


def _day(value: Any) -> date:
    try:
        if isinstance(value, str) and _DAY.fullmatch(value) and _FIRST <= (day := date.fromisoformat(value)) <= _LAST:
            return day
    except ValueError:
        pass
    raise PydanticCustomError("day", "must be a day from 2000 to 2999 such as 2030-01-31")


def _moment(of_day: Callable[[date], datetime]) -> Callable[[Any], datetime]:
    def parse(value: Any) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if isinstance(value, str) and _DAY.fullmatch(value):
                return of_day(_day(value))
            if isinstance(value, str) and _MOMENT.fullmatch(value):
                moment = datetime.fromisoformat(value).astimezone(UTC)
                if _FIRST <= moment.date() <= _LAST:
                    return moment
        except (ValueError, OverflowError):
            pass
        raise PydanticCustomError(
            "moment", "must be a day from 2000 to 2999 such as 2030-01-31, or a moment such as 2030-01-31T12:00:00Z"
        )

    return parse


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


_MOMENT_SCHEMA = WithJsonSchema(
    {
        "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
        "examples": ["2030-01-31", "2030-01-31T12:00:00Z"],
    }
)

Day = Annotated[
    date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2030-01-31"]})
]
"""In UTC."""

Since = Annotated[datetime, BeforeValidator(_moment(_start)), _MOMENT_SCHEMA]
"""Inclusive; a day from its start in UTC."""

Until = Annotated[datetime, BeforeValidator(_moment(lambda day: _start(day) + timedelta(days=1))), _MOMENT_SCHEMA]
"""Exclusive; a day to its end in UTC."""
