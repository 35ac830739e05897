"""Tracing that keeps its spans in memory."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from portico.kit.telemetry.otlp import OtlpRecorder
from portico.kit.telemetry.traces import Tracing


class Recording:
    """Tracing that keeps its spans in memory."""

    def __init__(self, *, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        recorder = OtlpRecorder("http://collector", service="catalog", version="1.2.3", exporter=self._exporter)
        self.tracing = Tracing(recorder, ratio=ratio)

    async def spans(self) -> tuple[ReadableSpan, ...]:
        await self.tracing.aclose()
        return self._exporter.get_finished_spans()


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def linked(span: ReadableSpan) -> set[str]:
    """Return the ids of the spans that a span is linked to."""
    return {f"{each.context.span_id:016x}" for each in span.links}
