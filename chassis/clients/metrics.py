"""What calls to upstreams look like from outside. Instances are not labels: they come and go."""

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter(
    "souk_client_calls_total",
    "Calls to a upstream, by what became of them: answered, not_there, refused, slow, unavailable or nonsense.",
    ["upstream", "outcome"],
)
SECONDS = Histogram("souk_client_call_seconds", "Time a call took with all its tries.", ["upstream"])
RETRIES = Counter("souk_client_retries_total", "Tries after the first.", ["upstream"])
BUDGET_SPENT = Counter("souk_client_retries_withheld_total", "Retries that the budget did not allow.", ["upstream"])
HEDGES = Counter("souk_client_hedges_total", "Reads that were sent to a second instance as well.", ["upstream"])
BREAKERS_OPEN = Gauge("souk_client_breakers_open", "Breakers that let nothing through.", ["upstream", "scope"])
BREAKER_CHANGES = Counter(
    "souk_client_breaker_changes_total", "Breakers that went to a state.", ["upstream", "scope", "state"]
)
