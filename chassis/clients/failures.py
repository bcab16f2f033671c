"""What a call may come to instead of an answer: Problems that tell our own caller the truth.

- Unavailable (503 with Retry-After): the upstream is away or failing, or we spare it or ourselves for now.
- TooSlow (504), an Unavailable too: it did not answer in the time there was.
- Refused (502): it answered that our request is wrong, which is a fault of ours; NotThere where it knows no such thing.
- BadAnswer (502): it talked nonsense.
"""

from chassis.base.problems import Problem, Unavailable


class BadAnswer(Problem):
    type, status, title = "/problems/bad-gateway", 502, "A upstream answered with nonsense"


class Refused(BadAnswer):
    """`refusal` is the status with which the upstream refused."""

    title = "A upstream refused our request"

    def __init__(self, detail: str, refusal: int) -> None:
        super().__init__(detail)
        self.refusal = refusal


class NotThere(Refused):
    """It was 404 or 410: what was asked for is not, or no longer, there. For some callers that is an answer."""


class TooSlow(Unavailable):
    type, status, title = "/problems/gateway-timeout", 504, "A upstream did not answer in time"


class TryFailed(Exception):
    """One try came to nothing; another may be made, on another instance.

    was_sent: it may have had its effect, so only what may be repeated is tried again.
    """

    def __init__(
        self, reason: str, *, was_sent: bool = True, is_slow: bool = False, retry_after_seconds: int = 2
    ) -> None:
        super().__init__(reason)
        self.was_sent, self.is_slow, self.retry_after_seconds = was_sent, is_slow, retry_after_seconds
