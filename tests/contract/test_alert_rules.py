"""Each alert fires after its `for` and not a step before, is silent without data, resolves, and has a sibling for a dead source."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from launcher import apt, slos

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "rules"
SCRAPED = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
ALERTS = {
    rule["alert"]: rule
    for file in sorted(RULES.glob("*.yml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule and "window" not in rule["labels"]
}
SLOS = yaml.safe_load(slos.FILE.read_text())

pytestmark = pytest.mark.timeout(600)
"""The first may install promtool."""

MINUTES = 45
"""Of good values before and after bad ones: longer than any range in a rule."""


class Values(NamedTuple):
    """Prometheus's notation without the number of samples."""

    good: str
    bad: str


def gauge(bad: float, good: float = 0) -> Values:
    return Values(f"{good:.0f}+0", f"{bad:.0f}+0")


NOW_AND_ALWAYS = 10_000_000_000
LONG_AGO = -10_000_000
"""The tests' time begins at 0."""

MOMENT = gauge(bad=1, good=0)
COUNTER = Values("0+0", "10+10")
UP = gauge(bad=0, good=1)

FIRING: dict[str, dict[str, Values]] = {
    "ProgramDown": {'up{job="souk",app="orders",instance="orders-worker"}': UP},
    "ServerDown": {'pg_up{job="postgres",instance="postgres"}': UP},
    "ProgramNotReady": {'souk_ready{instance="orders-worker",app="orders",check="broker"}': UP},
    "TimerLate": {
        'souk_timer_last_success_timestamp_seconds{instance="orders-worker",app="orders",timer="deadlines.watch"}': gauge(
            bad=1, good=NOW_AND_ALWAYS
        ),
        'souk_timer_interval_seconds{instance="orders-worker",app="orders",timer="deadlines.watch"}': gauge(2, 2),
    },
    "BreakerOpen": {
        'souk_client_breakers_open{instance="orders-web",app="orders",upstream="products",scope="service"}': gauge(1)
    },
    "RedisFull": {
        'redis_memory_used_bytes{instance="redis"}': gauge(95, 10),
        'redis_memory_max_bytes{instance="redis"}': gauge(100, 100),
    },
    "RevocationsUnchecked": {'souk_revocations_unchecked_total{instance="orders-web"}': COUNTER},
    "BackupLate": {"souk_backup_created_timestamp_seconds": gauge(bad=LONG_AGO, good=NOW_AND_ALWAYS)},
    "BackupUnproven": {"souk_restore_proven_timestamp_seconds": gauge(bad=LONG_AGO, good=NOW_AND_ALWAYS)},
    "CertificateExpires": {"souk_certificate_expires_timestamp_seconds": gauge(bad=1, good=NOW_AND_ALWAYS)},
    "DeadLetters": {'souk_dead_letters{queue="orders.dead"}': gauge(3)},
    "OutboxBacklog": {'souk_outbox_oldest_unsent_timestamp_seconds{instance="orders-worker",app="orders"}': MOMENT},
    "Unrouted": {'souk_dead_letters{queue="souk.unrouted"}': gauge(1)},
    "NoConsumer": {
        'rabbitmq_detailed_queue_messages_ready{queue="orders"}': gauge(5),
        'rabbitmq_detailed_queue_consumers{queue="orders"}': gauge(0, 1),
    },
    "QueueGrows": {'rabbitmq_detailed_queue_messages{queue="orders"}': Values("0+0", "2000+100")},
    "BrokerAlarm": {'rabbitmq_alarms_memory_used_watermark{instance="rabbitmq"}': gauge(1)},
    "NotificationsUndelivered": {"souk_notifications_dead": gauge(1)},
    "OrdersStuck": {"souk_sagas_stuck": gauge(1)},
    "OrderPendingTooLong": {"souk_oldest_pending_order_timestamp_seconds": MOMENT},
    "AnalyticsDelayed": {"souk_analytics_oldest_uncounted_timestamp_seconds": MOMENT},
    "LedgerMismatch": {'souk_payments_differences{provider="sandbox"}': gauge(2)},
    "PaymentsOverdue": {"souk_payments_oldest_unfinished_timestamp_seconds": MOMENT},
    "PaymentDisputed": {"souk_payments_disputed": gauge(1)},
    "FraudWarning": {"souk_payments_fraud_warnings_total": COUNTER},
    "CanaryRolledBack": {'souk_operator_reason{kind="canaries",name="orders",reason="RolledBack"}': gauge(1)},
    "CanaryStuck": {'souk_operator_reason{kind="canaries",name="orders",reason="RollingBack"}': gauge(1)},
    "OperatorFails": {'souk_operator_failures_total{instance="operators",kind="canaries"}': COUNTER},
    "RefundReturned": {'souk_payments_external_total{move="refund_returned"}': COUNTER},
}
"""For each alert, what makes it fire."""

OTHER_CAUSES: list[tuple[str, dict[str, Values]]] = [
    *(("ProgramDown", {f'up{{job="{job}",instance="{job}"}}': UP}) for job in ("postgres", "redis", "monitoring")),
    *(("ServerDown", {f'up{{job="{job}",instance="{job}"}}': UP}) for job in ("rabbitmq", "consul")),
    ("ServerDown", {'redis_up{instance="redis-cache"}': UP}),
    ("BrokerAlarm", {'rabbitmq_alarms_free_disk_space_watermark{instance="rabbitmq"}': gauge(1)}),
    ("RefundReturned", {'souk_payments_external_total{move="external_returned"}': COUNTER}),
]
"""Of alerts with several."""

QUIET: list[tuple[str, dict[str, str]]] = [
    ("DeadLetters", {'souk_dead_letters{queue="souk.unrouted"}': "3x70"}),
    ("Unrouted", {'souk_dead_letters{queue="orders.dead"}': "3x70"}),
    *(
        (
            "NoConsumer",
            {
                f'rabbitmq_detailed_queue_messages_ready{{queue="{queue}"}}': "5x70",
                f'rabbitmq_detailed_queue_consumers{{queue="{queue}"}}': "0x70",
            },
        )
        for queue in ("orders.dead", "orders.retry.500ms", "souk.unrouted")
    ),
    ("QueueGrows", {'rabbitmq_detailed_queue_messages{queue="orders"}': "9000-10x70"}),
    ("QueueGrows", {'rabbitmq_detailed_queue_messages{queue="orders.dead"}': "9000+10x70"}),
    (
        "RedisFull",
        {
            'redis_memory_used_bytes{instance="redis-cache"}': "99x70",
            'redis_memory_max_bytes{instance="redis-cache"}': "100x70",
        },
    ),
    (
        "RedisFull",
        {'redis_memory_used_bytes{instance="redis"}': "99x70", 'redis_memory_max_bytes{instance="redis"}': "0x70"},
    ),
    ("RefundReturned", {'souk_payments_external_total{move="disputed"}': "0+1x70"}),
    ("CanaryRolledBack", {'souk_operator_reason{kind="canaries",name="orders",reason="Promoted"}': "1x70"}),
]
"""What looks like a cause of an alert."""

ALWAYS = {"Watchdog", "ProgramDown"}
"""Fire without data."""

SOURCES = {
    "rabbitmq_alarms": "rabbitmq",
    "rabbitmq_detailed": "rabbitmq-queues",
    "pg_": "postgres",
    "redis_": "redis",
    "up": "souk",
    "souk_": "souk",
    "kong_": "souk",
}
"""The job that scrapes each series."""


@pytest.fixture(scope="module", autouse=True)
def promtool() -> None:
    if not shutil.which("promtool") and apt.is_available():
        apt.install(["prometheus"], units=["prometheus"])
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: apt-get install prometheus")


def run(folder: Path, tests: list[dict[str, Any]], files: str = "*.yml", every: str = "1m") -> None:
    file = folder / "tests.yml"
    content = {"rule_files": [str(each) for each in sorted(RULES.glob(files))], "evaluation_interval": every}
    file.write_text(json.dumps(content | {"tests": tests}))
    outcome = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert not outcome.returncode, outcome.stdout + outcome.stderr


def firing(alerts: dict[str, bool], minute: float, more: str = "") -> Iterator[dict[str, Any]]:
    for alert, fires in alerts.items():
        expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"{more}}}) > bool 0'
        yield {
            "expr": expression,
            "eval_time": f"{int(minute * 60)}s",
            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
        }


def minutes(duration: str) -> int:
    assert duration == "0m" or re.fullmatch("[1-9][0-9]*m", duration), "whole minutes, so that the tests can step"
    return int(duration[:-1])


def resolved_after(rule: dict[str, Any]) -> int:
    """Minutes until its ranges have passed."""
    ranges = re.findall(r"\[(\d+)([mh])\]", rule["expr"])
    kept = minutes(rule.get("keep_firing_for", "0m"))
    return 2 + kept + max((int(count) * (60 if unit == "h" else 1) for count, unit in ranges), default=0)


def expected(alert: str, firing_series: dict[str, Values]) -> dict[str, Any]:
    rule = ALERTS[alert]
    held = minutes(rule.get("for", "0m"))
    end = MINUTES + held + 5
    resolved = end + resolved_after(rule)
    series = [
        {"series": name, "values": f"{good}x{MINUTES - 1} {bad}x{end - MINUTES - 1} {good}x{resolved - end + 5}"}
        for name, (good, bad) in firing_series.items()
    ]
    checks = [
        *firing({alert: False}, MINUTES + held - 1),
        *firing({alert: True}, MINUTES + held),
        *firing({alert: False}, resolved),
    ]
    # Another series keeps `absent` silent.
    beside = {"series": 'up{job="souk",app="bank",instance="bank"}', "values": f"1x{resolved + 5}"}
    return {"interval": "1m", "name": alert, "input_series": [*series, beside], "promql_expr_test": checks}


def test_each_alert_fires_after_its_time_and_not_a_step_before_and_resolves(tmp_path: Path) -> None:
    assert FIRING.keys() == ALERTS.keys() - {"Watchdog"}
    for file in RULES.glob("*.yml"):
        groups = yaml.safe_load(file.read_text())["groups"]
        alerts = {rule.get("alert") for group in groups for rule in group["rules"]}
        causes = [*FIRING.items(), *OTHER_CAUSES]
        run(tmp_path, [expected(alert, series) for alert, series in causes if alert in alerts], file.name)


def test_what_an_alert_is_not_about_does_not_fire_it(tmp_path: Path) -> None:
    tests = [
        {
            "interval": "1m",
            "name": alert,
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": list(firing({alert: False}, 60)),
        }
        for alert, series in QUIET
    ]
    # Those of promises look at days.
    run(tmp_path, tests, "[!s]*.yml")


def test_no_alert_but_those_of_a_dead_source_fires_without_data(tmp_path: Path) -> None:
    silent = dict.fromkeys({*ALERTS, *SLOS} - ALWAYS, False)
    checks = [*firing(silent | dict.fromkeys(ALWAYS, True), 120)]
    run(tmp_path, [{"interval": "1m", "input_series": [], "promql_expr_test": checks}])


def names(expression: str) -> set[str]:
    """Of the series in an alert's expression, also of those it records."""
    return set(re.findall(r"\b(?:souk|rabbitmq|pg|redis|kong)_[a-z_]*|\bup\b", expression))


def test_another_alert_fires_when_the_source_of_one_is_gone(tmp_path: Path) -> None:
    expressions = {alert: rule["expr"] for alert, rule in ALERTS.items() if alert != "Watchdog"}
    expressions |= {alert: f"{slo['bad']} {slo['all']}" for alert, slo in SLOS.items()}
    jobs = set()
    for alert, expression in expressions.items():
        sources = {
            next(job for prefix, job in SOURCES.items() if name.startswith(prefix)) for name in names(expression)
        }
        assert sources, alert
        jobs |= sources
    assert jobs <= {each["job_name"] for each in SCRAPED}
    # What Prometheus itself writes about a target that does not respond.
    gone = [[{"series": f'up{{job="{job}",instance="gone"}}', "values": "0x60"}] for job in jobs]
    checks = list(firing({"ProgramDown": True}, 10, ',instance="gone"'))
    run(
        tmp_path,
        [{"interval": "1m", "input_series": each, "promql_expr_test": checks} for each in gone],
        "programs.yml",
    )


def test_the_alerts_of_promises_are_those_that_the_generator_writes() -> None:
    assert (RULES / "slos.yml").read_text() == slos.rules()


PER_MINUTE = 10_000

COUNTED = {
    "EdgeErrors": ('kong_http_requests_total{code="503"}', 'kong_http_requests_total{code="200"}'),
    "EdgeSlow": ("kong_request_latency_ms_count", 'kong_request_latency_ms_bucket{le="200.0"}'),
    "OrdersSlow": ("souk_order_settling_seconds_count", 'souk_order_settling_seconds_bucket{le="10.0"}'),
    "MailsSlow": (
        'souk_notification_delivery_seconds_count{channel="email"}',
        'souk_notification_delivery_seconds_bucket{channel="email",le="60.0"}',
    ),
}
"""Of each promise, the counter of failures or of all, and that of successes."""


def burning(name: str, burn: slos.Burn, factor: float) -> dict[str, Any]:
    """The budget is spent `factor` times as fast as the alert allows, and then not at all."""
    failing = round(PER_MINUTE * (100 - SLOS[name]["objective"]) / 100 * burn.rate * factor)
    short = int(burn.short[:-1]) * (60 if burn.short.endswith("h") else 1)
    end, resolved = short + 30, 2 * short + 40
    # By minute, first and then.
    counted = (failing, 0) if name == "EdgeErrors" else (PER_MINUTE, PER_MINUTE)
    values = [
        f"0+{first}x{end} {first * end + then}+{then}x{short + 10}"
        for first, then in (counted, (PER_MINUTE - failing, PER_MINUTE))
    ]
    series = [{"series": each, "values": value} for each, value in zip(COUNTED[name], values, strict=True)]
    window = f',window="{burn.long}"'
    checks = [*firing({name: factor > 1}, end, window), *firing({name: False}, resolved, window)]
    return {
        "interval": "1m",
        "name": f"{name} {burn.long} {factor}",
        "input_series": series,
        "promql_expr_test": checks,
    }


@pytest.mark.parametrize("burn", slos.BURNS, ids=[burn.long for burn in slos.BURNS])
def test_each_promise_is_watched_in_each_window(burn: slos.Burn, tmp_path: Path) -> None:
    assert COUNTED.keys() == SLOS.keys()
    tests = [burning(name, burn, factor) for name in SLOS for factor in (0.9, 1.1)]
    run(tmp_path, tests, "slos.yml", every="5m")


def requests(failing: str, fine: str) -> list[dict[str, Any]]:
    return [
        {"series": 'kong_http_requests_total{code="503"}', "values": failing},
        {"series": 'kong_http_requests_total{code="200"}', "values": fine},
    ]


def test_a_fast_burn_pages_and_resolves(tmp_path: Path) -> None:
    hour = ',window="1h"'
    checks = [
        *firing({"EdgeErrors": False}, 60, hour),
        *firing({"EdgeErrors": True}, 80, hour),
        *firing({"EdgeErrors": False}, 95, hour),
    ]
    series = requests("0x60 10+10x19 200x120", "0+100x200")
    run(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": checks}], "slos.yml")


@pytest.mark.parametrize("bucket", ["200", "200.0", "250", "250.0"])
def test_a_slow_edge_pages_by_the_buckets_of_either_gateway(tmp_path: Path, bucket: str) -> None:
    """Real Kong has none of 200 ms."""
    hour = ',window="1h"'
    checks = [*firing({"EdgeSlow": False}, 60, hour), *firing({"EdgeSlow": True}, 115, hour)]
    series = [
        {"series": "kong_request_latency_ms_count", "values": "0+100x120"},
        {"series": f'kong_request_latency_ms_bucket{{le="{bucket}"}}', "values": "0+100x60 6000x60"},
    ]
    run(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": checks}], "slos.yml")


def test_the_promise_of_each_edge_is_watched_by_its_own_buckets(tmp_path: Path) -> None:
    """Where both serve: one has 200 ms, the other only 250."""
    buckets = [("gateway", "200.0"), ("gateway", "250.0"), ("kong", "250")]
    series = [
        {"series": f'kong_request_latency_ms_count{{instance="{edge}"}}', "values": "0+100x120"}
        for edge in ("gateway", "kong")
    ] + [
        {"series": f'kong_request_latency_ms_bucket{{instance="{edge}",le="{le}"}}', "values": "0+100x120"}
        for edge, le in buckets
    ]
    check = {
        "expr": "slo:edge_slow:bad",
        "eval_time": "60m",
        "exp_samples": [{"labels": "slo:edge_slow:bad", "value": 0}],
    }
    run(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": [check]}], "slos.yml")


def test_a_few_failures_on_a_quiet_night_wake_nobody(tmp_path: Path) -> None:
    checks = [check for minute in range(60, 120, 5) for check in firing({"EdgeErrors": False}, minute)]
    series = requests("0x60 1+1x7 9x120", "0x200")
    run(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": checks}], "slos.yml")
