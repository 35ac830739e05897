"""Configuration and alert rules for Prometheus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from portico.kit.runtime.system import System

SCRAPE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert rule.

    Args:
        name: in camel case, as Prometheus names alerts.
        expression: PromQL; `$system` is the name of the system.
        minutes: how long the expression must hold.
        severity: `critical` if users notice it.
        summary: one line; `{{ $labels.job }}` is the part of the system.
        advice: what to do first.
    """

    name: str
    expression: str
    minutes: int
    severity: Literal["critical", "warning"]
    summary: str
    advice: str


_ALWAYS = (
    Alert(
        "PorticoPartDown",
        'up{system="$system"} == 0',
        1,
        "critical",
        "{{ $labels.job }} at {{ $labels.instance }} does not answer.",
        "Read the log of the process. The process may be stopped, or the port may not be reachable from Prometheus.",
    ),
    Alert(
        "PorticoErrorsHigh",
        'sum by (job) (rate(portico_http_requests_total{system="$system", status=~"5.."}[5m]))'
        ' / sum by (job) (rate(portico_http_requests_total{system="$system"}[5m])) > 0.02',
        5,
        "critical",
        "More than 2 % of the responses of {{ $labels.job }} are 5xx.",
        "Look for endpoint_failed, unavailable and request_failed in the log, and at /health/detailed.",
    ),
    Alert(
        "PorticoRequestsSlow",
        "histogram_quantile(0.99, sum by (job, le)"
        ' (rate(portico_http_request_duration_seconds_bucket{system="$system"}[5m]))) > 2.5',
        10,
        "warning",
        "1 % of the requests to {{ $labels.job }} take more than 2.5 seconds.",
        "Compare the routes in the dashboard, and look at database, event loop and the called services.",
    ),
    Alert(
        "PorticoEventLoopBlocked",
        'portico_event_loop_lag_seconds{system="$system"} > 0.1',
        5,
        "warning",
        "The event loop of {{ $labels.job }} is late by more than 100 ms.",
        "The process has too little processor time, or code of it blocks the event loop.",
    ),
    Alert(
        "PorticoFilesExhausted",
        'process_open_fds{system="$system"} / process_max_fds{system="$system"} > 0.8',
        5,
        "warning",
        "{{ $labels.job }} uses more than 80 % of its file descriptors.",
        "Raise the limit of open files of the process, or lower MAX_CONNECTIONS.",
    ),
    Alert(
        "PorticoBreakerOpen",
        'portico_gateway_breaker{system="$system"} == 2',
        1,
        "critical",
        "The gateway does not forward requests to {{ $labels.upstream }}.",
        "The instance keeps failing. Read its log and its /health/ready.",
    ),
    Alert(
        "PorticoRateLimitsNotShared",
        'increase(portico_gateway_rate_limit_fallbacks_total{system="$system"}[5m]) > 0',
        5,
        "warning",
        "Redis is down, and each gateway counts rate limits alone.",
        "Restore Redis. Until then each client may send the limit to each gateway.",
    ),
)
_PUBLISHING = (
    Alert(
        "PorticoOutboxLate",
        'portico_outbox_lag_seconds{system="$system"} > 60',
        2,
        "critical",
        "Events of {{ $labels.job }} have waited for more than a minute to be published.",
        "Look for broker_unavailable, event_rejected and relay_failed in the log.",
    ),
)
_CONSUMING = (
    Alert(
        "PorticoDeadLetters",
        'portico_dead_letters{system="$system"} > 0',
        1,
        "warning",
        "{{ $labels.job }} has dead letters.",
        "`portico dead-letters list` shows them. Replay them after the correction.",
    ),
    Alert(
        "PorticoManyRetries",
        'portico_events_waiting{system="$system"} > 100',
        10,
        "warning",
        "{{ $labels.job }} retries more than 100 events.",
        "Look for event_retry_scheduled in the log.",
    ),
    Alert(
        "PorticoEventsUnroutable",
        'portico_events_unroutable{system="$system"} > 0',
        15,
        "warning",
        "Events of {{ $labels.job }} wait for a consumer that no process has.",
        "Finish the rollout, or restore the consumer under its stored name.",
    ),
)
_SAGAS = (
    Alert(
        "PorticoSagaOld",
        'portico_sagas_oldest_seconds{system="$system"} > 900',
        5,
        "critical",
        "A saga of {{ $labels.job }} has been open for more than 15 minutes.",
        "/health/detailed shows its error, and an operator can retry or skip the step that it waits for.",
    ),
    Alert(
        "PorticoSagasFailing",
        'portico_sagas_failing{system="$system"} > 10',
        10,
        "warning",
        "The last attempt of more than 10 sagas of {{ $labels.job }} failed.",
        "Look for saga_step_failed in the log.",
    ),
)


def alerts_of(system: System) -> list[Alert]:
    """Return the alerts of a system. Alerts without metrics in this system are left out."""
    services = system.services
    alerts = list(_ALWAYS)
    for group, is_needed in (
        (_PUBLISHING, any(service.publishes for service in services)),
        (_CONSUMING, any(service.consumers for service in services)),
        (_SAGAS, any(service.sagas for service in services)),
    ):
        alerts += group if is_needed else ()
    return alerts


def prometheus(system: System, targets: dict[str, list[str]]) -> str:
    """Return the configuration that scrapes all parts of a system.

    Args:
        system: the system.
        targets: the addresses (`host:port`) of the instances of each part.
    """
    lines = [
        *_heading(system, "Configuration"),
        "",
        "global:",
        f"  scrape_interval: {SCRAPE_SECONDS}s",
        f"  evaluation_interval: {SCRAPE_SECONDS}s",
        "",
        f"rule_files: [{rules_file(system)}]",
        "",
        "scrape_configs:",
    ]
    for part, addresses in targets.items():
        lines += [
            f"  - job_name: {_quoted(part)}",
            "    static_configs:",
            f"      - targets: [{', '.join(map(_quoted, addresses))}]",
            f"        labels: {{system: {_quoted(system.name)}}}",
        ]
    return "\n".join(lines) + "\n"


def prometheus_rules(system: System) -> str:
    """Return the alert rules of a system."""
    rules = [line for alert in alerts_of(system) for line in _rule(alert, system.name)]
    lines = [
        *_heading(system, "Alert rules"),
        "",
        "groups:",
        f"  - name: {_quoted(system.name)}",
        "    rules:",
        *rules,
    ]
    return "\n".join(lines) + "\n"


def rules_file(system: System) -> str:
    """Return the name of the file with the alert rules, which the configuration names."""
    return f"{system.name}.rules.yaml"


def _heading(system: System, content: str) -> Sequence[str]:
    return [
        f"# {content} of Prometheus for {system.name}. Generated by `portico export prometheus`; do not edit.",
        "#",
        "# /metrics of the gateway is for clients in OPERATOR_NETWORKS: Prometheus must be one of them.",
    ]


def _rule(alert: Alert, system: str) -> Iterator[str]:
    yield f"      - alert: {alert.name}"
    yield f"        expr: {_quoted(alert.expression.replace('$system', system))}"
    yield f"        for: {alert.minutes}m"
    yield f"        labels: {{severity: {alert.severity}}}"
    yield "        annotations:"
    yield f"          summary: {_quoted(alert.summary)}"
    yield f"          description: {_quoted(alert.advice)}"


def _quoted(text: str) -> str:
    """Return a YAML string in single quotes, in which only the quote itself is escaped."""
    return "'" + text.replace("'", "''") + "'"
