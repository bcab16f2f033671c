"""What Prometheus has of two releases at one moment: of requests, and of messages with Celery's tasks."""

import json
from collections.abc import Mapping

from operators.canary.verdict import Sample
from operators.prometheus import Query, Unmeasured

REQUESTS, MESSAGES = "requests", "messages"

SERIES = {
    REQUESTS: {
        "count": ("flask_http_request_duration_seconds_count", {}),
        "failed": ("flask_http_request_duration_seconds_count", {"status=~": "5.."}),
        "timed": ("flask_http_request_duration_seconds_count", {}),
        # The promise.
        "fast": ("flask_http_request_duration_seconds_bucket", {"le=": "0.2"}),
    },
    MESSAGES: {
        "count": ("", {"__name__=~": "souk_(messages|tasks)_handled_total"}),
        "failed": (
            "",
            {"__name__=~": "souk_(messages|tasks)_handled_total", "outcome=~": "retried|dead_letter|exhausted"},
        ),
        "timed": ("souk_message_handling_seconds_count", {}),
        "fast": ("souk_message_handling_seconds_bucket", {"le=": "0.25"}),
    },
}
"""By what is sampled: figure, metric and labels."""


def queries(kind: str, labels: Mapping[str, str], version: str, seconds: int, ago: int = 0) -> dict[str, str]:
    """By figure, over so many seconds that ended so long ago. labels: of the service's series."""
    own = {f"{name}=": value for name, value in labels.items()}
    # Of then, too: an autoscaler stops pods that get no requests.
    build = f"souk_build_info{_selector({**own, 'version=': version})}{_offset(ago)}"
    return {
        figure: f"sum({_grown(f'{metric}{_selector({**own, **more})}', seconds, ago)}"
        f" and on (namespace, instance) {build})" + (" or vector(0)" if figure != "count" else "")
        for figure, (metric, more) in SERIES[kind].items()
    }


def unreachable(namespace: str, target: str) -> str:
    """How many of the edge's pods, Kong's or ours, find the target unhealthy."""
    where = {"namespace=": namespace, "target=": target, "state=~": "unhealthy|dns_error"}
    return f"sum(kong_upstream_target_health{_selector(where)})"


def measure(query: Query, expressions: Mapping[str, str]) -> Sample | None:
    try:
        found = {name: query(expression) for name, expression in expressions.items()}
    except Unmeasured:
        return None
    return Sample(found["count"], found["failed"], found["timed"] - found["fast"])


# --- inside


def _grown(series: str, seconds: int, ago: int) -> str:
    """Not `increase`, to which a series begins with its first sample: a pod's first error would not count.

    A counter that is smaller than before began anew with its container: what it has counted since is taken.
    """
    now, before = f"{series}{_offset(ago)}", f"{series}{_offset(ago + seconds)}"
    return f"({now} - ({before} <= {now} or 0 * {now}))"


def _offset(seconds: int) -> str:
    return f" offset {seconds}s" if seconds else ""


def _selector(matchers: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}{json.dumps(value)}" for name, value in matchers.items()) + "}"
