import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind, StatusCode
from tests.kit.telemetry.recording import Recording, linked, trace_id

from portico.kit.telemetry import TraceContext, Tracing

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def digits(count: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**count - 1).map(lambda number: f"{number:0{count}x}")


class TestTraceContext:
    @given(digits(32), digits(16), st.booleans())
    def test_parses_its_own_header(self, trace_id: str, span_id: str, sampled: bool) -> None:  # noqa: FBT001 given
        context = TraceContext(trace_id, span_id, sampled)

        assert TraceContext.parse(str(context)) == context

    @given(st.text(st.characters(categories=None)))
    def test_any_header_can_be_parsed(self, header: str) -> None:
        assert TraceContext.parse(header) is None

    def test_a_new_one_is_valid_and_not_recorded(self) -> None:
        context = TraceContext.new()

        assert TraceContext.parse(str(context)) == context
        assert not context.sampled

    def test_other_flags_are_ignored(self) -> None:
        context = TraceContext.parse(HEADER[:-2] + "fe")

        assert context is not None
        assert not context.sampled

    def test_known_fields_of_a_later_version_are_read(self) -> None:
        assert TraceContext.parse("cc" + HEADER[2:] + "-what-the-future-brings") == TraceContext.parse(HEADER)

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            HEADER.upper(),
            HEADER + "-more",
            HEADER + "\n",
            " " + HEADER,
            "ff" + HEADER[2:],
            "cc" + HEADER[2:] + "more",
            HEADER.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
            HEADER.replace("b7ad6b7169203331", "0" * 16),
            "cc" + HEADER[2:] + "-" + "x" * 1000,
        ],
    )
    def test_an_invalid_header_is_none(self, header: str | None) -> None:
        assert TraceContext.parse(header) is None


class TestOff:
    def test_the_callers_context_is_propagated_unchanged(self) -> None:
        tracing = Tracing.off()

        served = tracing.serve(method="GET", path="/", traceparent=HEADER)

        assert str(served.context) == HEADER
        assert str(tracing.call(served.context, service="identity", method="GET", path="/").context) == HEADER

    def test_without_context_a_trace_begins(self) -> None:
        tracing = Tracing.off()

        one, other = (tracing.serve(method="GET", path="/", traceparent="nonsense") for _ in range(2))

        assert one.context.trace_id != other.context.trace_id
        assert not one.context.sampled


@pytest.fixture
def recording() -> Recording:
    return Recording()


class TestRecorded:
    async def test_a_request_is_a_server_span_named_by_its_route(self, recording: Recording) -> None:
        span = recording.tracing.serve(method="GET", path="/products/1", client="192.0.2.7")
        span.set({"enduser.id": "user_1"})
        span.end(route="/products/{product_id}", status=404)

        (found,) = await recording.spans()
        assert found.name == "GET /products/{product_id}"
        assert found.kind is SpanKind.SERVER
        assert dict(found.attributes or {}) == {
            "http.request.method": "GET",
            "url.path": "/products/1",
            "url.scheme": "http",
            "client.address": "192.0.2.7",
            "enduser.id": "user_1",
            "http.route": "/products/{product_id}",
            "http.response.status_code": 404,
        }
        assert found.status.status_code is StatusCode.UNSET
        assert found.resource.attributes["service.name"] == "catalog"

    async def test_it_belongs_to_the_callers_trace(self, recording: Recording) -> None:
        recording.tracing.serve(method="GET", path="/", traceparent=HEADER).end(status=200)

        (found,) = await recording.spans()
        assert found.context is not None
        assert found.parent is not None
        assert f"{found.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{found.parent.span_id:016x}" == "b7ad6b7169203331"

    async def test_a_call_is_a_client_span_within_it(self, recording: Recording) -> None:
        served = recording.tracing.serve(method="GET", path="/")
        called = recording.tracing.call(served.context, service="identity", method="POST", path="/validate-token")
        called.end(status=401)
        served.end(status=401)

        call, request = await recording.spans()
        assert call.kind is SpanKind.CLIENT
        assert call.context is not None
        assert called.context.span_id == f"{call.context.span_id:016x}"
        assert call.parent is not None
        assert request.context is not None
        assert call.parent.span_id == request.context.span_id

    @pytest.mark.parametrize(
        ("kind", "status", "failed"),
        [("server", 499, False), ("server", 500, True), ("client", 399, False), ("client", 404, True)],
    )
    async def test_a_client_error_is_an_error_of_the_client_span_only(
        self,
        recording: Recording,
        kind: str,
        status: int,
        failed: bool,  # noqa: FBT001 an example
    ) -> None:
        served = recording.tracing.serve(method="GET", path="/")
        span = (
            served if kind == "server" else recording.tracing.call(served.context, service="a", method="GET", path="/")
        )
        span.end(status=status)

        (found,) = await recording.spans()
        assert (found.status.status_code is StatusCode.ERROR) is failed
        assert ("error.type" in (found.attributes or {})) is failed

    async def test_without_a_response_the_error_type_is_recorded(self, recording: Recording) -> None:
        recording.tracing.serve(method="GET", path="/").end(error="ConnectionResetError")

        (found,) = await recording.spans()
        assert (found.attributes or {})["error.type"] == "ConnectionResetError"


class TestLinks:
    async def test_work_for_several_traces_is_linked_to_each_of_them(self, recording: Recording) -> None:
        parts = [TraceContext("a" * 32, f"{number:016x}", sampled=True) for number in (1, 2)]
        recording.tracing.begin("work", links=[*parts, TraceContext("b" * 32, "c" * 16, sampled=False)]).end()
        recording.tracing.call(parts[0], service="identity", method="POST", path="/", links=parts).end()

        work, call = await recording.spans()
        assert linked(work) == linked(call) == {part.span_id for part in parts}
        assert work.parent is None
        assert trace_id(work) != parts[0].trace_id

    async def test_work_for_unrecorded_traces_is_not_recorded(self, recording: Recording) -> None:
        recording.tracing.begin("work", links=[TraceContext.new()]).end()

        assert await recording.spans() == ()


class TestSampling:
    async def test_the_callers_decision_is_followed(self) -> None:
        never, always = Recording(ratio=0), Recording(ratio=1)
        never.tracing.serve(method="GET", path="/", traceparent=HEADER).end(status=200)
        always.tracing.serve(method="GET", path="/", traceparent=HEADER[:-2] + "00").end(status=200)

        assert len(await never.spans()) == 1
        assert len(await always.spans()) == 0

    async def test_a_share_of_new_traces_is_recorded(self) -> None:
        recording = Recording(ratio=0.5)
        for _ in range(400):
            recording.tracing.serve(method="GET", path="/").end(status=200)

        assert 120 < len(await recording.spans()) < 280

    async def test_calls_of_an_unrecorded_trace_are_not_recorded(self) -> None:
        recording = Recording(ratio=0)
        served = recording.tracing.serve(method="GET", path="/")
        recording.tracing.call(served.context, service="identity", method="GET", path="/").end(status=200)

        assert await recording.spans() == ()
