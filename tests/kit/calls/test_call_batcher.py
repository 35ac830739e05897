"""Batched calls: those of the same moment are one request, and each has its own outcome."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import orjson
import pytest
from tests.kit.telemetry.recording import Recording, linked, span_id, trace_id

from portico.kit.calls.call_batcher import MAX_BATCH, CallBatcher
from portico.kit.calls.channel import Incoming, Outgoing, Refused, ResponseInvalid, Unreachable
from portico.kit.calls.client import Calls, Client, Layout, Summary
from portico.kit.calls.errors import CallFailed, ConnectionLost
from portico.kit.telemetry.trace_context import TraceContext
from portico.testing.channels import canned_response

BATCH = "/loans/batch"


class Loan(Summary):
    number: int


class LoansClient(Client, service="loans"):
    async def lend(self, number: int) -> Loan:
        return await self.put(f"/loans/{number}", json={"number": number}, answer=Loan, batch=BATCH)

    async def renew(self, number: int, *, key: str | None = None) -> Loan:
        options: dict[str, Any] = {} if key is None else {"key": key}
        return await self.post(f"/loans/{number}/renew", answer=Loan, batch=BATCH, **options)


class Server:
    """Answers batches by `decide`, and single requests with the loan of their path."""

    def __init__(self, decide: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> None:
        self.sent: list[Outgoing] = []
        self.failure: CallFailed | None = None
        self.whole: Incoming | None = None
        self._decide = decide or self._lend

    async def send(self, out: Outgoing) -> Incoming:
        self.sent.append(out)
        if self.failure is not None:
            raise self.failure
        if not out.path.endswith(BATCH):
            return canned_response(200, orjson.dumps({"number": _number(out.path)}))
        if self.whole is not None:
            return self.whole
        return canned_response(200, orjson.dumps([self._decide(item) for item in orjson.loads(out.body)]))

    @staticmethod
    def _lend(item: dict[str, Any]) -> dict[str, Any]:
        return {"status": 201, "headers": {}, "body": {"number": _number(item["path"])}}


def _number(path: str) -> int:
    return int(path.removesuffix("/renew").rpartition("/")[2])


def calls_to(server: Server, batcher: CallBatcher, **options: Any) -> Calls:
    calls = Calls(server, **options)
    calls.batch_with(batcher)
    return calls


async def lend(server: Server, numbers: range) -> list[Any]:
    """Lend in as many tasks, each with calls of its own."""
    batcher = CallBatcher()
    acts = [calls_to(server, batcher)(LoansClient).lend(number) for number in numbers]
    return await asyncio.gather(*acts, return_exceptions=True)


class TestBatching:
    async def test_calls_of_the_same_moment_are_one_request(self) -> None:
        server = Server()

        loans = await lend(server, range(10))

        [request] = server.sent
        assert (request.method, request.path, request.repeatable) == ("POST", BATCH, True)
        assert [loan.number for loan in loans] == list(range(10))
        assert orjson.loads(request.body)[3] == {
            "method": "PUT",
            "path": "/loans/3",
            "key": None,
            "trace": ANY,
            "request_id": None,
            "body": {"number": 3},
        }

    async def test_a_call_without_others_is_sent_as_it_is(self) -> None:
        server = Server()

        [loan] = await lend(server, range(1))

        assert [(out.method, out.path) for out in server.sent] == [("PUT", "/loans/0")]
        assert loan.number == 0

    async def test_calls_that_are_not_gathered_are_sent_as_they_are(self) -> None:
        server = Server()

        await asyncio.gather(*(Calls(server)(LoansClient).lend(number) for number in range(3)))

        assert [out.path for out in server.sent] == ["/loans/0", "/loans/1", "/loans/2"]

    async def test_a_request_has_a_limited_number_of_calls(self) -> None:
        server = Server()

        loans = await lend(server, range(MAX_BATCH + 10))

        assert sorted(len(orjson.loads(out.body)) for out in server.sent) == [10, MAX_BATCH]
        assert [loan.number for loan in loans] == list(range(MAX_BATCH + 10))

    async def test_each_call_has_its_own_idempotency_key(self) -> None:
        server, batcher = Server(), CallBatcher()
        acts = [calls_to(server, batcher, key=f"saga-{n}")(LoansClient).renew(n) for n in range(2)]

        await asyncio.gather(*acts)

        [request] = server.sent
        assert [item["key"] for item in orjson.loads(request.body)] == ["saga-0/1", "saga-1/1"]
        assert all(name != b"idempotency-key" for name, _ in request.headers)

    async def test_a_call_that_must_not_be_repeated_is_sent_alone(self) -> None:
        server, batcher = Server(), CallBatcher()

        await asyncio.gather(*(calls_to(server, batcher)(LoansClient).renew(n) for n in range(2)))

        assert [out.path for out in server.sent] == ["/loans/0/renew", "/loans/1/renew"]

    async def test_the_prefix_of_the_system_is_that_of_the_request(self) -> None:
        server, batcher, layout = Server(), CallBatcher(), Layout("/api")

        await asyncio.gather(*(calls_to(server, batcher, layout=layout)(LoansClient).lend(n) for n in range(2)))

        assert server.sent[0].path == "/api" + BATCH
        assert [item["path"] for item in orjson.loads(server.sent[0].body)] == ["/loans/0", "/loans/1"]


class TestTraces:
    async def test_a_request_is_linked_to_the_span_of_each_of_its_calls(self) -> None:
        recording, server, batcher = Recording(), Server(), CallBatcher()
        traces = [TraceContext(f"{number:032x}", "a" * 16, sampled=True) for number in (1, 2, 3)]
        callers = [
            calls_to(server, batcher, trace=trace, tracing=recording.tracing, request_id=f"req-{trace.trace_id[-1]}")
            for trace in traces
        ]

        await asyncio.gather(*(each(LoansClient).lend(number) for number, each in enumerate(callers)))

        spans = await recording.spans()
        [batch] = [span for span in spans if span.links]
        calls = sorted((span for span in spans if span is not batch), key=trace_id)
        assert [trace_id(span) for span in calls] == [trace.trace_id for trace in traces]
        assert linked(batch) == {span_id(span) for span in calls}
        items = orjson.loads(server.sent[0].body)
        assert [item["trace"] for item in items] == [f"00-{trace_id(each)}-{span_id(each)}-01" for each in calls]
        assert [item["request_id"] for item in items] == ["req-1", "req-2", "req-3"]


class TestOutcomes:
    async def test_a_refusal_concerns_its_call_only(self) -> None:
        def decide(item: dict[str, Any]) -> dict[str, Any]:
            if _number(item["path"]) == 1:
                return {"status": 409, "headers": {"retry-after": "3"}, "body": {"code": "too_late"}}
            return Server._lend(item)

        loans = await lend(Server(decide), range(3))

        assert [loan.number for loan in (loans[0], loans[2])] == [0, 2]
        refused = loans[1]
        assert isinstance(refused, Refused)
        assert (refused.status, refused.code, refused.retry_after) == (409, "too_late", 3.0)

    async def test_a_call_that_was_not_ready_is_sent_alone_and_is_in_doubt(self) -> None:
        server = Server(
            lambda item: (
                {"status": None, "headers": {}, "body": None} if item["path"] == "/loans/1" else Server._lend(item)
            )
        )
        batcher = CallBatcher()
        calls = [calls_to(server, batcher) for _ in range(3)]

        loans = await asyncio.gather(*(each(LoansClient).lend(number) for number, each in enumerate(calls)))

        assert [out.path for out in server.sent] == [BATCH, "/loans/1"]
        assert [loan.number for loan in loans] == [0, 1, 2]
        assert [each.in_doubt for each in calls] == [False, True, False]

    @pytest.mark.parametrize("failure", [ConnectionLost("loans", "lost"), Unreachable("loans", "away")])
    async def test_a_lost_request_is_lost_for_each_of_its_calls(self, failure: CallFailed) -> None:
        server = Server()
        server.failure = failure

        assert await lend(server, range(3)) == [failure] * 3
        assert len(server.sent) == 1

    async def test_a_request_that_is_rejected_as_a_whole_is_rejected_for_each_of_its_calls(self) -> None:
        server = Server()
        server.whole = canned_response(503, b'{"code": "unavailable"}', [(b"retry-after", b"2")])

        found = await lend(server, range(3))

        assert [(each.status, each.retry_after) for each in found] == [(503, 2.0)] * 3

    async def test_a_service_without_the_endpoint_gets_single_calls(self) -> None:
        server = Server()
        server.whole = canned_response(404, b"{}")

        loans = await lend(server, range(3))

        assert [loan.number for loan in loans] == [0, 1, 2]
        assert [out.path for out in server.sent] == [BATCH, "/loans/0", "/loans/1", "/loans/2"]

    @pytest.mark.parametrize("body", [b"{}", b"[]", b'[{"status": 1}]', b"[1, 2]", b"nothing", b"[{}, {}]"])
    async def test_a_response_of_another_form_is_invalid_for_each_call(self, body: bytes) -> None:
        server = Server()
        server.whole = canned_response(200, body)

        assert [type(each) for each in await lend(server, range(2))] == [ResponseInvalid] * 2

    async def test_a_caller_that_is_cancelled_does_not_cancel_the_others(self) -> None:
        server, batcher = Server(), CallBatcher()
        tasks = [asyncio.create_task(calls_to(server, batcher)(LoansClient).lend(n)) for n in range(3)]
        await asyncio.sleep(0)

        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(found[0], asyncio.CancelledError)
        assert [each.number for each in found[1:] if isinstance(each, Loan)] == [1, 2]
