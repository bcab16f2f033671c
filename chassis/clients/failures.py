"""Problems that a call may raise:

- Unavailable (503 with Retry-After): the upstream is failing, or calls are held back.
- TooSlow (504), an Unavailable too.
- Refused (502): it rejected our request, our bug; NotThere if it found nothing.
- BadResponse (502): unreadable.
"""

from chassis.base.problems import Problem, Unavailable


class BadResponse(Problem):
    type, status, title = "/problems/bad-gateway", 502, "Invalid response from an upstream service"


class Refused(BadResponse):
    title = "Request rejected by an upstream service"


class NotThere(Refused):
    """404 or 410."""


class TooSlow(Unavailable):
    type, status, title = "/problems/gateway-timeout", 504, "Upstream service timed out"


class TryFailed(Exception):
    """was_sent: the upstream may have worked. is_refusal: no time would have helped."""

    def __init__(
        self,
        reason: str,
        *,
        was_sent: bool = True,
        is_refusal: bool = False,
        is_slow: bool = False,
        retry_after_seconds: int = 2,
    ) -> None:
        super().__init__(reason)
        self.was_sent, self.is_refusal, self.is_slow = was_sent, is_refusal, is_slow
        self.retry_after_seconds = retry_after_seconds
