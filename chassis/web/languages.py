"""The language of a response."""

from collections.abc import Sequence


def preferred(offered: Sequence[str]) -> str:
    """By Accept-Language, else the first. Sets Vary."""
    # Workers have no Flask.
    from flask import Response, after_this_request, request

    def vary(response: Response) -> Response:
        response.vary.add("Accept-Language")
        return response

    after_this_request(vary)
    return request.accept_languages.best_match(offered) or offered[0]
