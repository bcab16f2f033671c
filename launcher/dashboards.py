"""Grafana's dashboards, by code: `python -m launcher.dashboards` writes monitoring/dashboards/.

Each panel's expressions are run on a live Prometheus by tests/system/test_dashboards.py. Needs the development packages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from launcher import slos
from launcher.state import REPOSITORY

FOLDER = REPOSITORY / "monitoring" / "dashboards"

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

COUNTER_UNIT, SECONDS, MILLISECONDS, RATE, BYTES, PERCENT = "short", "s", "ms", "ops", "bytes", "percentunit"


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    expressions: dict[str, str]
    """By legend."""
    about: str = ""
    is_number: bool = False


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    panels: Sequence[Panel]
    by_service: bool = False

    def to_json(self) -> str:
        made = dashboard.Dashboard(f"Souk: {self.title}").uid(f"souk-{self.name}").tags(["souk"])
        made = made.refresh("30s").time("now-1h", "now")
        made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        if self.by_service:
            services = dashboard.QueryVariable("app").label("Service").query("label_values(souk_ready, app)")
            made = made.with_variable(services.datasource(SOURCE))
        for panel in self.panels:
            made = made.with_panel(_built(panel))
        return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _built(panel: Panel) -> stat.Panel | timeseries.Panel:
    built: stat.Panel | timeseries.Panel
    built = stat.Panel().height(4).span(4) if panel.is_number else timeseries.Panel().height(8).span(12).min(0)
    built = built.title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE)
    for index, (legend, expression) in enumerate(panel.expressions.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + index))
        if "_bucket" in expression:
            # Points that lead to traces.
            query = query.exemplar(True)
        built = built.with_target(query.datasource(SOURCE))
    return built


def _number(title: str, unit: str, expression: str, about: str = "") -> Panel:
    return Panel(title, unit, {title: expression}, about, is_number=True)


def _rate(title: str, metric: str, by: str, matching: str = "") -> Panel:
    return Panel(title, RATE, {f"{{{{{by}}}}}": f"sum by ({by}) (rate({metric}{{{matching}}}[$__rate_interval]))"})


def _quantiles(title: str, unit: str, histogram: str, matching: str = "") -> Panel:
    rate = f"sum by (le) (rate({histogram}_bucket{{{matching}}}[$__rate_interval]))"
    return Panel(title, unit, {f"p{q}": f"histogram_quantile(0.{q}, {rate})" for q in (50, 95, 99)})


def _in_range(metric: str, matching: str = "") -> str:
    """Counted in the time shown. Nothing yet is none."""
    return f"sum(increase({metric}{{{matching}}}[$__range])) or vector(0)"


ERRORS = _number("Errors", COUNTER_UNIT, _in_range("kong_http_requests_total", 'code=~"5.."'), "5xx at the edge.")
CONFIRMED = _number("Orders confirmed", COUNTER_UNIT, _in_range("souk_messages_sent_total", 'type="order.confirmed"'))
CANCELLED = _number(
    "Orders cancelled",
    COUNTER_UNIT,
    _in_range("souk_messages_sent_total", 'type="order.cancelled"'),
    "By customers and staff, or because stock or payment was refused.",
)
DECLINED = _number("Payments declined", COUNTER_UNIT, _in_range("souk_payments_total", 'status="declined"'))


def _money(title: str, movement: str) -> Panel:
    """The ledger has the exact sums."""
    counted = f'increase(souk_payments_money_total{{movement="{movement}"}}[$__range])'
    return Panel(title, COUNTER_UNIT, {"{{currency}}": f"sum by (currency) ({counted}) / 100"}, "", is_number=True)


REVENUE = _money("Revenue", "captured")
REFUNDED = _money("Refunded", "refunded")


def dashboards() -> Iterator[Dashboard]:
    yield Dashboard(
        "overview",
        "overview",
        [
            _number("Requests", COUNTER_UNIT, _in_range("kong_http_requests_total")),
            ERRORS,
            CONFIRMED,
            CANCELLED,
            REVENUE,
            _number(
                "Alerts firing", COUNTER_UNIT, 'count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)'
            ),
            _rate("Requests by status", "kong_http_requests_total", "code"),
            _quantiles("Duration at the edge", MILLISECONDS, "kong_request_latency_ms"),
            Panel(
                "Not ready", COUNTER_UNIT, {"{{instance}} {{check}}": "souk_ready == bool 0"}, "1 while a check fails."
            ),
            Panel("Not up", COUNTER_UNIT, {"{{instance}}": "up == bool 0"}, "1 while a program cannot be scraped."),
            Panel("Memory", BYTES, {"{{instance}}": "process_resident_memory_bytes"}, "Shared pages count in each."),
            Panel("CPU", PERCENT, {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"}),
        ],
    )
    app = 'app="$app"'
    yield Dashboard(
        "service",
        "one service",
        [
            _rate("Requests by status", "flask_http_request_total", "status", app),
            _quantiles("Duration of requests", SECONDS, "flask_http_request_duration_seconds", app),
            _rate("Messages by outcome", "souk_messages_handled_total", "outcome", app),
            _quantiles("Duration of handlers", SECONDS, "souk_message_handling_seconds", app),
            _quantiles("Duration of database queries", SECONDS, "souk_database_query_seconds", app),
            Panel("Checks", COUNTER_UNIT, {"{{instance}} {{check}}": f"souk_ready{{{app}}}"}, "1 when it passes."),
            Panel(
                "Since each timer succeeded",
                SECONDS,
                {"{{timer}}": f"time() - souk_timer_last_success_timestamp_seconds{{{app}}}"},
            ),
            Panel("Memory", BYTES, {"{{instance}}": f"process_resident_memory_bytes{{{app}}}"}),
            Panel("CPU", PERCENT, {"{{instance}}": f"rate(process_cpu_seconds_total{{{app}}}[$__rate_interval])"}),
            Panel(
                "Release", COUNTER_UNIT, {"{{version}}": f"count by (version) (souk_build_info{{{app}}})"}, "Programs."
            ),
        ],
        by_service=True,
    )
    yield Dashboard(
        "orders",
        "orders and money",
        [
            CONFIRMED,
            CANCELLED,
            DECLINED,
            REVENUE,
            REFUNDED,
            _number("Stuck", COUNTER_UNIT, "max(souk_sagas_stuck)", "./souk sagas list"),
            _quantiles("From placed to confirmed or cancelled", SECONDS, "souk_order_settling_seconds"),
            _rate("Payments by new status", "souk_payments_total", "status"),
            _rate("Refunds by status", "souk_refunds_total", "status"),
            _rate("Stock refused by reason", "souk_stock_refusals_total", "reason"),
            Panel(
                "Age of the oldest pending order",
                SECONDS,
                {"age": "max(time() - (souk_oldest_pending_order_timestamp_seconds > 0)) or vector(0)"},
            ),
            Panel(
                "For an operator",
                COUNTER_UNIT,
                {
                    "payments overdue": "max(souk_payments_overdue)",
                    "payments disputed": "max(souk_payments_disputed)",
                    "holds expired": "sum(souk_stock_holds_expired_total)",
                },
            ),
        ],
    )
    yield Dashboard(
        "messages",
        "messages",
        [
            _number("Dead letters", COUNTER_UNIT, "sum(souk_dead_letters)", "./souk dead list"),
            _number("Mails given up", COUNTER_UNIT, "max(souk_notifications_dead)"),
            _rate("Sent by type", "souk_messages_sent_total", "type"),
            _rate("Handled by outcome", "souk_messages_handled_total", "outcome"),
            _quantiles("Duration of handlers", SECONDS, "souk_message_handling_seconds"),
            _rate("Tasks by outcome", "souk_tasks_handled_total", "outcome"),
            Panel(
                "Age of the oldest unsent message",
                SECONDS,
                {
                    "{{app}}": "max by (app) ((time() - (souk_outbox_oldest_unsent_timestamp_seconds > 0)) "
                    "or 0 * souk_outbox_oldest_unsent_timestamp_seconds)"
                },
            ),
            Panel("Queues", COUNTER_UNIT, {"{{queue}}": "max by (queue) (rabbitmq_detailed_queue_messages)"}),
            Panel("Consumers", COUNTER_UNIT, {"{{queue}}": "max by (queue) (rabbitmq_detailed_queue_consumers)"}),
            _rate("Deliveries by outcome", "souk_notification_attempts_total", "outcome"),
        ],
    )
    yield Dashboard(
        "edge",
        "edge",
        [
            _number("Requests", COUNTER_UNIT, _in_range("kong_http_requests_total")),
            ERRORS,
            _number("Certificate expires in", SECONDS, "min(souk_certificate_expires_timestamp_seconds) - time()"),
            _rate("Requests by status", "kong_http_requests_total", "code"),
            _rate("Requests by route", "kong_http_requests_total", "route"),
            _quantiles("Duration", MILLISECONDS, "kong_request_latency_ms"),
            _quantiles("Of which services took", MILLISECONDS, "kong_upstream_latency_ms"),
            _rate("Calls between services by outcome", "souk_client_calls_total", "outcome"),
            _quantiles("Duration of calls between services", SECONDS, "souk_client_call_seconds"),
        ],
    )
    yield Dashboard("slos", "what is promised", list(_promises()))
    yield Dashboard(
        "stores",
        "data stores",
        [
            Panel(
                "Up",
                COUNTER_UNIT,
                {
                    "PostgreSQL": "min(pg_up)",
                    "{{instance}}": 'up{job=~"rabbitmq|consul"}',
                    "{{instance}} ": "redis_up",
                },
            ),
            _quantiles("Duration of database queries", SECONDS, "souk_database_query_seconds"),
            Panel(
                "PostgreSQL: connections",
                COUNTER_UNIT,
                {"{{datname}}": "sum by (datname) (souk_postgres_database_numbackends)"},
            ),
            Panel(
                "PostgreSQL: transactions",
                RATE,
                {
                    "committed": "sum(rate(souk_postgres_database_xact_commit[$__rate_interval]))",
                    "rolled back": "sum(rate(souk_postgres_database_xact_rollback[$__rate_interval]))",
                },
            ),
            Panel(
                "PostgreSQL: deadlocks",
                COUNTER_UNIT,
                {"{{datname}}": "sum by (datname) (souk_postgres_database_deadlocks)"},
            ),
            Panel("Redis: memory", BYTES, {"{{instance}}": "redis_memory_used_bytes"}),
            _rate("Redis: commands", "redis_commands_processed_total", "instance"),
            _rate("Reads through caches by outcome", "souk_cache_reads_total", "outcome"),
            Panel("RabbitMQ: memory", BYTES, {"used": "sum(rabbitmq_process_resident_memory_bytes)"}),
            Panel("RabbitMQ: alarms", COUNTER_UNIT, {"{{__name__}}": '{__name__=~"rabbitmq_alarms_.*_watermark"}'}),
        ],
    )


def _promises() -> Iterator[Panel]:
    for name, slo in yaml.safe_load(slos.FILE.read_text()).items():
        bad, total = slos.recorded(name)
        allowed = round(1 - slo["objective"] / 100, 6)
        ratio = f"(sum_over_time({bad}[{{}}]) / (sum_over_time({total}[{{}}]) > 0) or vector(0))"
        promise = f"{slo['objective']} % {slo['promise']}."
        for title, window in (
            (f"{name}: share that failed in an hour", "1h"),
            (f"{name}: budget left of 30 days", "30d"),
        ):
            share = ratio.format(window, window)
            expression = share if window == "1h" else f"1 - {share} / {allowed:g}"
            yield Panel(title, PERCENT, {name: expression}, promise, is_number=window == "30d")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in dashboards():
        (FOLDER / f"{each.name}.json").write_text(each.to_json())
