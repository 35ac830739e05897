"""A Grafana dashboard of a system."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from portico.gateway.export.options import slug
from portico.kit.runtime.system import System

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3
_SCHEMA = 39  # of Grafana 10.2 and newer


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph.

    Args:
        title: the heading.
        unit: Grafana's name of the unit.
        queries: PromQL by legend; `$of` is the selector of the chosen parts.
    """

    title: str
    unit: str
    queries: dict[str, str]


def _quantile(share: str, by: str, metric: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{$of}}[$__rate_interval])))"


def _rate(by: str, metric: str) -> str:
    return f"sum by ({by}) (rate({metric}{{$of}}[$__rate_interval]))"


_REQUESTS = "portico_http_requests_total"
_DURATION = "portico_http_request_duration_seconds"
_TRAFFIC = (
    Panel("Requests", "reqps", {"{{job}}": _rate("job", _REQUESTS)}),
    Panel(
        "Share of 5xx",
        "percentunit",
        {
            "{{job}}": f'sum by (job) (rate({_REQUESTS}{{$of, status=~"5.."}}[$__rate_interval])) / '
            + _rate("job", _REQUESTS)
        },
    ),
    Panel("Requests in flight", "short", {"{{job}}": "sum by (job) (portico_http_requests_in_flight{$of})"}),
    Panel("Duration, median", "s", {"{{job}}": _quantile("0.5", "job", _DURATION)}),
    Panel("Duration, 99 %", "s", {"{{job}}": _quantile("0.99", "job", _DURATION)}),
    Panel(
        "Slowest routes, 99 %",
        "s",
        {"{{job}} {{method}} {{route}}": f"topk(10, {_quantile('0.99', 'job, method, route', _DURATION)})"},
    ),
)
_GATEWAY = (
    Panel(
        "Response of services, 99 %",
        "s",
        {"{{service}}": _quantile("0.99", "service", "portico_gateway_upstream_seconds")},
    ),
    Panel(
        "Rate limits, retries, incomplete responses",
        "reqps",
        {
            "429 {{route}}": _rate("route", "portico_gateway_rate_limited_total"),
            "retries of {{service}}": _rate("service", "portico_gateway_retries_total"),
            "{{outcome}}": _rate("outcome", "portico_gateway_incomplete_total"),
        },
    ),
    Panel(
        "Breakers (2 is open) and requests in flight",
        "short",
        {
            "breaker {{upstream}}": "portico_gateway_breaker{$of}",
            "in flight {{upstream}}": "portico_gateway_instance_in_flight{$of}",
        },
    ),
)
_PUBLISHED = (
    Panel("Events published", "ops", {"{{job}}": _rate("job", "portico_events_published_total")}),
    Panel("Age of the oldest event in the outbox", "s", {"{{job}}": "portico_outbox_lag_seconds{$of}"}),
)
_CONSUMED = (
    Panel("Events handled", "ops", {"{{consumer}}": _rate("consumer", "portico_events_handled_total")}),
    Panel(
        "Retries and dead letters",
        "short",
        {
            "waiting in {{job}}": "portico_events_waiting{$of}",
            "unroutable in {{job}}": "portico_events_unroutable{$of}",
            "dead letters of {{job}}": "portico_dead_letters{$of}",
        },
    ),
)
_SAGAS = (
    Panel(
        "Open sagas",
        "short",
        {"open {{saga}}": "portico_sagas_open{$of}", "failing {{saga}}": "portico_sagas_failing{$of}"},
    ),
    Panel("Age of the oldest open saga", "s", {"{{saga}}": "portico_sagas_oldest_seconds{$of}"}),
    Panel(
        "Saga steps and ends",
        "ops",
        {
            "step {{outcome}}": _rate("outcome", "portico_saga_steps_total"),
            "ended {{status}}": _rate("status", "portico_sagas_ended_total"),
        },
    ),
)
_PROCESSES = (
    Panel("Processor", "percentunit", {"{{job}}": "rate(process_cpu_seconds_total{$of}[$__rate_interval])"}),
    Panel("Memory", "bytes", {"{{job}}": "process_resident_memory_bytes{$of}"}),
    Panel(
        "Event-loop lag and open files",
        "short",
        {"lag {{job}} (s)": "portico_event_loop_lag_seconds{$of}", "files {{job}}": "process_open_fds{$of}"},
    ),
)


def panels_of(system: System) -> dict[str, tuple[Panel, ...]]:
    """Return the panels of a system by row. Panels without metrics in this system are left out."""
    services = system.services
    rows = {"Traffic": _TRAFFIC, "Gateway": _GATEWAY}
    if any(service.publishes for service in services):
        rows["Events published"] = _PUBLISHED
    if any(service.consumers for service in services):
        rows["Events consumed"] = _CONSUMED
    if any(service.sagas for service in services):
        rows["Sagas"] = _SAGAS
    return rows | {"Processes": _PROCESSES}


def grafana(system: System) -> str:
    """Return a dashboard for the metrics that the exported Prometheus configuration collects."""
    return orjson.dumps(_dashboard(system), option=orjson.OPT_INDENT_2).decode() + "\n"


def _dashboard(system: System) -> dict[str, Any]:
    return {
        "uid": f"portico-{slug(system.name)}",
        "title": f"Portico {system.name}",
        "description": "Generated by `portico export grafana`.",
        "tags": ["portico"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "label": "Part",
                    "type": "query",
                    "datasource": _DATASOURCE,
                    "query": {"query": f'label_values(up{{system="{system.name}"}}, job)', "refId": "parts"},
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "current": {"text": ["All"], "value": ["$__all"]},
                },
            ]
        },
        "panels": list(_panels(system)),
    }


_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _panels(system: System) -> Iterable[dict[str, Any]]:
    number, top = 0, 0
    selector = f'system="{system.name}", job=~"$job"'
    for row, panels in panels_of(system).items():
        number += 1
        position = {"x": 0, "y": top, "w": _WIDTH * _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row, "collapsed": False, "gridPos": position, "panels": []}
        for place, panel in enumerate(panels):
            number += 1
            line, column = divmod(place, _COLUMNS)
            yield {
                "id": number,
                "type": "timeseries",
                "title": panel.title,
                "datasource": _DATASOURCE,
                "gridPos": {"x": column * _WIDTH, "y": top + 1 + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
                "targets": [
                    {
                        "refId": chr(ord("A") + index),
                        "datasource": _DATASOURCE,
                        "expr": query.replace("$of", selector),
                        "legendFormat": legend,
                    }
                    for index, (legend, query) in enumerate(panel.queries.items())
                ],
            }
        top += 1 + -(-len(panels) // _COLUMNS) * _HEIGHT
