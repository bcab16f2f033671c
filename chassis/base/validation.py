"""What pydantic found wrong, in words for logs and operators."""

from pydantic import ValidationError


def summary(error: ValidationError) -> str:
    """Which fields are wrong and how. Not what is in them, as the error itself says it: this is for logs and for operators."""
    return "; ".join(
        f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in error.errors(include_input=False)
    )
