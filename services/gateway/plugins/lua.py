"""The Lua that a file may hold: two expressions, known word for word. Any other is refused when the file is loaded."""

import re
from dataclasses import dataclass

_HEADER_BY_SCHEME = re.compile(
    r'if kong\.request\.get_forwarded_scheme\(\) == "(https?)"'
    r' then kong\.response\.set_header\("([A-Za-z0-9-]+)", "([^"\\\r\n]*)"\) end'
)


@dataclass(frozen=True, slots=True)
class HeaderByScheme:
    """A header that answers have when they were asked for by this scheme."""

    scheme: str
    name: str
    value: str

    @classmethod
    def read(cls, expression: str) -> "HeaderByScheme":
        """Raises ValueError."""
        found = _HEADER_BY_SCHEME.fullmatch(expression.strip())
        if found is None:
            raise ValueError(
                'of Lua only this is known here: if kong.request.get_forwarded_scheme() == "https" '
                'then kong.response.set_header("NAME", "VALUE") end'
            )
        return cls(*found.groups())


def nothing(expression: str) -> str:
    """What leaves a field out. Raises ValueError."""
    if expression.strip() != "return nil":
        raise ValueError("of Lua only this is known here: return nil")
    return expression
