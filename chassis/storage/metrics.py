"""Metrics of either database."""

from prometheus_client import Histogram

QUERY_SECONDS = Histogram(
    "souk_database_query_seconds",
    "Waits for a response of the database.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2, 10),
)
