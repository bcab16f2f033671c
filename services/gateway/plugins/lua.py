"""The Lua that a file may contain: two expressions, matched literally. Any other is rejected on loading."""

import re
from dataclasses import dataclass

_HEADER_BY_SCHEME = re.compile(
    r'if kong\.request\.get_forwarded_scheme\(\) == "(https?)"'
    r' then kong\.response\.set_header\("([A-Za-z0-9-]+)", "([^"\\\r\n]*)"\) end'
)


@dataclass(frozen=True, slots=True)
class HeaderByScheme:
    """A header for responses to requests of this scheme."""

    scheme: str
    name: str
    value: str

    @classmethod
    def read(cls, expression: str) -> "HeaderByScheme":
        """Raises ValueError."""
        found = _HEADER_BY_SCHEME.fullmatch(expression.strip())
        if found is None:
            raise ValueError(
                'the only Lua supported here is: if kong.request.get_forwarded_scheme() == "https" '
                'then kong.response.set_header("NAME", "VALUE") end'
            )
        return cls(*found.groups())


def nothing(expression: str) -> str:
    """The expression that removes a field. Raises ValueError."""
    if expression.strip() != "return nil":
        raise ValueError("the only Lua supported here is: return nil")
    return expression
