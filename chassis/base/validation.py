"""Validation errors, for logs and operators."""

from pydantic import ValidationError


def summary(error: ValidationError) -> str:
    """Invalid fields and why, without their values, which may be secret."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False))
