"""What calls to neighbours look like from outside. Instances are not labels: they come and go."""

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter(
    "souk_client_calls_total",
    "Calls to a neighbour, by what became of them: answered, not_there, refused, slow, unavailable or nonsense.",
    ["neighbour", "outcome"],
)
SECONDS = Histogram("souk_client_call_seconds", "Time a call took with all its tries.", ["neighbour"])
RETRIES = Counter("souk_client_retries_total", "Tries after the first.", ["neighbour"])
BUDGET_SPENT = Counter("souk_client_retries_withheld_total", "Retries that the budget did not allow.", ["neighbour"])
HEDGES = Counter("souk_client_hedges_total", "Reads that were sent to a second instance as well.", ["neighbour"])
BREAKERS_OPEN = Gauge("souk_client_breakers_open", "Breakers that let nothing through.", ["neighbour", "scope"])
BREAKER_CHANGES = Counter(
    "souk_client_breaker_changes_total", "Breakers that went to a state.", ["neighbour", "scope", "state"]
)
