"""Metrics of calls, not by instance: instances come and go."""

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter(
    "souk_client_calls_total",
    "Calls to an upstream, by outcome: ok, not_there, refused, slow, unavailable or invalid.",
    ["upstream", "outcome"],
)
SECONDS = Histogram(
    "souk_client_call_seconds",
    "Duration of a call with all its tries.",
    ["upstream"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
RETRIES = Counter("souk_client_retries_total", "Tries after the first.", ["upstream"])
BUDGET_SPENT = Counter("souk_client_retries_withheld_total", "Retries that the budget did not allow.", ["upstream"])
BREAKERS_OPEN = Gauge("souk_client_breakers_open", "Circuit breakers that are not closed.", ["upstream", "scope"])
BREAKER_CHANGES = Counter(
    "souk_client_breaker_changes_total",
    "Circuit breakers that changed to a state: open, half-open or closed.",
    ["upstream", "scope", "state"],
)
