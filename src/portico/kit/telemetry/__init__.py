"""Telemetry: logs, metrics, traces and health."""

from portico.kit.telemetry.context import RequestContext, current_trace, request_context
from portico.kit.telemetry.health import Health
from portico.kit.telemetry.logs import Logs, RequestLog, get_logger
from portico.kit.telemetry.metrics import Metrics, RequestMetrics
from portico.kit.telemetry.process_stats import LoopLag
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing

__all__ = [
    "Health",
    "Logs",
    "LoopLag",
    "Metrics",
    "RequestContext",
    "RequestLog",
    "RequestMetrics",
    "Span",
    "TraceContext",
    "Tracing",
    "current_trace",
    "get_logger",
    "request_context",
]
