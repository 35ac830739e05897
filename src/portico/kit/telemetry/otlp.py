"""Export of spans over OTLP/HTTP with OpenTelemetry's SDK (`portico[otlp]`). Imported only when tracing is on."""

import asyncio
from collections.abc import Sequence

from portico.kit.settings import SettingsError
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import AttributeValue, Span, SpanKind

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
except ImportError as error:
    raise SettingsError(
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the OpenTelemetry exporter is not installed. Run pip install "
        "'portico[otlp]', or unset the variable."
    ) from error

logger = get_logger(__name__)

_SHUTDOWN_TIMEOUT = 5.0  # seconds
_EXPORT_TIMEOUT = 3.0  # seconds
_MAX_QUEUED_SPANS = 4096
_KINDS = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
    "internal": trace.SpanKind.INTERNAL,
}
_FIRST_ERROR_STATUS = {"server": 500, "client": 400}


class OtlpRecorder:
    """Records spans and exports them in batches from a background thread. A full queue drops spans.

    Args:
        endpoint: the collector's address, without `/v1/traces`.
        service: the service's name in the traces.
        version: the service's version in the traces.
        exporter: replaces the exporter to `endpoint` in tests.

    Raises:
        SettingsError: `portico[otlp]` is not installed (raised when this module is imported).
    """

    def __init__(self, endpoint: str, *, service: str, version: str, exporter: SpanExporter | None = None) -> None:
        if exporter is None:
            exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_TIMEOUT)
        # `Tracing` has already made the sampling decision.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": service, "service.version": version}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_MAX_QUEUED_SPANS))
        self._tracer = self._provider.get_tracer("portico", version)

    def start(
        self,
        kind: SpanKind,
        name: str,
        parent: TraceContext | None,
        attributes: dict[str, AttributeValue],
        links: Sequence[TraceContext] = (),
    ) -> Span:
        context = trace.set_span_in_context(
            trace.NonRecordingSpan(_span_context(parent)) if parent else trace.INVALID_SPAN
        )
        linked = [trace.Link(_span_context(each)) for each in links if each.sampled]
        span = self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=attributes, links=linked)
        return _RecordedSpan(span, kind, name)

    async def aclose(self) -> None:
        """Export the remaining spans, and give up after `_SHUTDOWN_TIMEOUT`."""
        shutdown = asyncio.to_thread(self._provider.shutdown)
        try:
            await asyncio.wait_for(shutdown, _SHUTDOWN_TIMEOUT)
        except TimeoutError:
            logger.warning("traces_not_sent", reason="the collector did not respond in time")


def _span_context(parent: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(parent.sampled)
    )


class _RecordedSpan(Span):
    __slots__ = ("_kind", "_name", "_span")

    def __init__(self, span: trace.Span, kind: SpanKind, name: str) -> None:
        own = span.get_span_context()
        super().__init__(TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", sampled=True))
        self._span = span
        self._kind = kind
        self._name = name

    def set(self, attributes: dict[str, AttributeValue]) -> None:
        self._span.set_attributes(attributes)

    def end(self, *, route: str | None = None, status: int | None = None, error: str | None = None) -> None:
        if route is not None:
            self._span.update_name(f"{self._name} {route}")
            self._span.set_attribute("http.route", route)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
            if error is None and status >= _FIRST_ERROR_STATUS[self._kind]:
                error = str(status)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()
