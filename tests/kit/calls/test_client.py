import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from portico.kit.calls.channel import (
    CalledInTransaction,
    CallTimedOut,
    Outgoing,
    Refused,
    ResponseInvalid,
    Unreachable,
)
from portico.kit.calls.client import Calls, Client, Layout, Summary
from portico.kit.data.engine import Database
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing
from portico.testing.channels import ScriptedChannel, canned_response


class Colour(Enum):
    RED = "red"


class LoanSummary(Summary):
    loan_id: str
    due_at: datetime


class LoansClient(Client, service="loans"):
    async def of_reader(self, **params: Any) -> list[LoanSummary]:
        return await self.get("/loans", params=params, answer=list[LoanSummary])

    async def lend(self, book: Any, **options: Any) -> None:
        await self.post("/loans", json=book, **options)


@pytest.fixture
def channel() -> ScriptedChannel:
    return ScriptedChannel(canned_response(200, b"[]"))


def header(out: Outgoing, name: bytes) -> bytes | None:
    return next((value for each, value in out.headers if each == name), None)


class TestRequest:
    async def test_it_goes_to_the_clients_service(self, channel: ScriptedChannel) -> None:
        await Calls(channel)(LoansClient).of_reader()

        (out,) = channel.sent
        assert (out.service, out.method, out.path, out.query, out.body) == ("loans", "GET", "/loans", b"", b"")

    async def test_parameters_are_encoded(self, channel: ScriptedChannel) -> None:
        await Calls(channel)(LoansClient).of_reader(
            reader="user_1&x", active=True, since=datetime(2026, 1, 2, tzinfo=UTC), colours=[Colour.RED, "b"], none=None,
            price=Decimal("1.50"),
        )  # fmt: skip

        assert channel.sent[0].query == (
            b"reader=user_1%26x&active=true&since=2026-01-02T00%3A00%3A00Z&colours=red&colours=b&price=1.50"
        )

    async def test_a_body_is_json_in_snake_case(self, channel: ScriptedChannel) -> None:
        loan = LoanSummary(loan_id="loan_1", due_at=datetime(2026, 1, 2, tzinfo=UTC))
        await Calls(channel)(LoansClient).lend({"loans": [loan]})

        (out,) = channel.sent
        assert out.body == b'{"loans":[{"loan_id":"loan_1","due_at":"2026-01-02T00:00:00Z"}]}'
        assert header(out, b"content-type") == b"application/json"

    @pytest.mark.parametrize(
        "path", ["loans", "/a/../b", "/..", "/a/./b", "/a b", "/a?b=c", "/a#b", "/a\r\nb", "/%zz", "/é", ""]
    )
    async def test_an_unquoted_path_is_rejected(self, channel: ScriptedChannel, path: str) -> None:
        with pytest.raises(ValueError, match="is not quoted"):
            await LoansClient(Calls(channel)).get(path)

        assert channel.sent == []

    @pytest.mark.parametrize("path", ["/", "/a/b_c-d.e~f", "/a/%2E%2E", "/.well-known/jwks.json", "/a/...", "/x:y@z"])
    async def test_a_valid_path_is_accepted(self, channel: ScriptedChannel, path: str) -> None:
        await LoansClient(Calls(channel)).get(path)

        assert channel.sent[0].path == path

    async def test_a_system_has_its_own_names_and_prefix(self, channel: ScriptedChannel) -> None:
        calls = Calls(channel, layout=Layout("/api", {"loans": "lending"}))
        await calls(LoansClient).of_reader()
        await calls(LoansClient).get("/.well-known/jwks.json")

        assert [(out.service, out.path) for out in channel.sent] == [
            ("lending", "/api/loans"),
            ("lending", "/.well-known/jwks.json"),
        ]


class TestHeaders:
    async def test_contain_identity_and_trace(self, channel: ScriptedChannel) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await Calls(channel, identity="token", request_id="r-1", trace=TraceContext.parse(trace))(
            LoansClient
        ).of_reader()

        assert channel.sent[0].headers == [
            (b"x-request-id", b"r-1"),
            (b"authorization", b"Bearer token"),
            (b"traceparent", trace.encode()),
        ]

    async def test_are_empty_without_identity_and_trace(self, channel: ScriptedChannel) -> None:
        await Calls(channel)(LoansClient).of_reader()

        assert channel.sent[0].headers == []

    async def test_each_effect_has_its_own_idempotency_key(self, channel: ScriptedChannel) -> None:
        loans = Calls(channel, key="saga-1/charge")(LoansClient)
        await loans.lend({})
        await loans.of_reader()
        await loans.lend({})
        await loans.lend({}, key="mine")

        keys = [header(out, b"idempotency-key") for out in channel.sent]
        assert keys == [b"saga-1/charge/1", None, b"saga-1/charge/2", b"mine"]

    async def test_mark_repeatable_calls(self, channel: ScriptedChannel) -> None:
        loans = Calls(channel)(LoansClient)
        await loans.of_reader()
        await loans.lend({})
        await loans.lend({}, key="k")
        await loans.lend({}, only_reads=True)

        assert [out.repeatable for out in channel.sent] == [True, False, True, True]


class TestDeadline:
    async def test_a_call_gets_the_remaining_time(self, channel: ScriptedChannel) -> None:
        deadline = asyncio.get_running_loop().time() + 3
        await Calls(channel, deadline=deadline)(LoansClient).of_reader()

        assert 2 < channel.sent[0].timeout <= 3

    async def test_a_shorter_timeout_of_the_call_applies(self, channel: ScriptedChannel) -> None:
        deadline = asyncio.get_running_loop().time() + 60
        calls = Calls(channel, deadline=deadline, timeout=5)
        await calls(LoansClient).of_reader()
        await calls(LoansClient).lend({}, timeout=1)

        assert [out.timeout for out in channel.sent] == [5, 1]

    async def test_no_call_is_made_after_the_deadline(self, channel: ScriptedChannel) -> None:
        with pytest.raises(CallTimedOut, match="deadline"):
            await Calls(channel, deadline=asyncio.get_running_loop().time() - 1)(LoansClient).of_reader()

        assert channel.sent == []

    async def test_it_limits_obtaining_a_token(self, channel: ScriptedChannel) -> None:
        async def never() -> str:
            await asyncio.Event().wait()
            return "token"

        with pytest.raises(CallTimedOut, match="token"):
            await Calls(channel, identity=never, timeout=0.01)(LoansClient).of_reader()


class TestAnswer:
    @pytest.mark.parametrize("names", [("loan_id", "due_at"), ("loanId", "dueAt")])
    async def test_is_read_in_either_case_and_may_have_more_fields(self, names: tuple[str, str]) -> None:
        body = f'[{{"{names[0]}": "loan_1", "{names[1]}": "2026-01-02T00:00:00Z", "new": 1}}]'.encode()

        (loan,) = await Calls(ScriptedChannel(canned_response(200, body)))(LoansClient).of_reader()

        assert loan == LoanSummary(loan_id="loan_1", due_at=datetime(2026, 1, 2, tzinfo=UTC))

    @pytest.mark.parametrize("body", [b"", b"{}", b'[{"loan_id": "secret"}]', b"[" * 100_000])
    async def test_that_breaks_the_contract_is_invalid_and_not_quoted(self, body: bytes) -> None:
        with pytest.raises(ResponseInvalid) as invalid:
            await Calls(ScriptedChannel(canned_response(200, body)))(LoansClient).of_reader()

        assert "secret" not in str(invalid.value)

    async def test_a_redirect_is_invalid(self) -> None:
        with pytest.raises(ResponseInvalid, match="307"):
            await Calls(ScriptedChannel(canned_response(307)))(LoansClient).of_reader()

    async def test_without_a_type_is_ignored(self) -> None:
        client = Calls(ScriptedChannel(canned_response(204, b"")))(LoansClient)

        assert await client.lend({}) is None

    async def test_a_problem_raises_refused_with_its_members(self) -> None:
        answer = canned_response(409, b'{"code": "already_lent", "until": "tomorrow"}', [(b"retry-after", b"2")])
        with pytest.raises(Refused) as refused:
            await Calls(ScriptedChannel(answer))(LoansClient).of_reader()

        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (409, "already_lent", 2)
        assert refused.value.problem["until"] == "tomorrow"
        assert str(refused.value) == "loans: answered 409 already_lent"

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'"x"'])
    async def test_an_error_without_a_problem_raises_refused(self, body: bytes) -> None:
        with pytest.raises(Refused) as refused:
            await Calls(ScriptedChannel(canned_response(500, body)))(LoansClient).of_reader()

        assert (refused.value.problem, refused.value.code) == ({}, None)

    async def test_an_error_of_the_channel_is_raised(self) -> None:
        with pytest.raises(Unreachable):
            await Calls(ScriptedChannel(Unreachable("loans", "refused")))(LoansClient).of_reader()


class Renewing:
    """An identity whose first token is not valid any more."""

    def __init__(self) -> None:
        self.token = "old"

    async def __call__(self) -> str:
        return self.token

    def forget(self, token: str) -> None:
        assert token == self.token
        self.token = "new"


class TestRefusedToken:
    async def test_is_replaced_once_by_a_renewable_identity(self) -> None:
        channel = ScriptedChannel(canned_response(401), canned_response(200, b"[]"))
        await Calls(channel, identity=Renewing())(LoansClient).of_reader()

        assert [header(out, b"authorization") for out in channel.sent] == [b"Bearer old", b"Bearer new"]

    async def test_a_users_token_is_not_replaced(self) -> None:
        channel = ScriptedChannel(canned_response(401))
        with pytest.raises(Refused):
            await Calls(channel, identity="token")(LoansClient).of_reader()

        assert len(channel.sent) == 1


class Spans:
    """A recorder that keeps the recorded spans."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, TraceContext | None]] = []
        self.ended: list[tuple[int | None, str | None]] = []

    def start(
        self, kind: str, name: str, parent: TraceContext | None, _attributes: dict[str, Any], _links: object
    ) -> Span:
        self.begun.append((kind, name, parent))
        return RememberedSpan(self, TraceContext("a" * 32, "b" * 16, sampled=True))

    async def aclose(self) -> None:
        """Do nothing."""


class RememberedSpan(Span):
    def __init__(self, spans: Spans, context: TraceContext) -> None:
        super().__init__(context)
        self._spans = spans

    def end(self, *, route: str | None = None, status: int | None = None, error: str | None = None) -> None:
        self._spans.ended.append((status, error))


class TestTracing:
    TRACE = TraceContext("c" * 32, "d" * 16, sampled=True)

    async def test_a_call_is_a_span_of_its_trace(self) -> None:
        channel, spans = ScriptedChannel(canned_response(200, b"[]")), Spans()
        await Calls(channel, trace=self.TRACE, tracing=Tracing(spans))(LoansClient).of_reader()

        assert spans.begun == [("client", "GET loans", self.TRACE)]
        assert spans.ended == [(200, None)]
        assert (b"traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode()) in channel.sent[0].headers

    async def test_a_failed_call_records_its_error(self) -> None:
        channel, spans = ScriptedChannel(Unreachable("loans", "is away")), Spans()
        with pytest.raises(Unreachable):
            await Calls(channel, trace=self.TRACE, tracing=Tracing(spans))(LoansClient).of_reader()

        assert spans.ended == [(None, "Unreachable")]


class TestInATransaction:
    async def test_a_call_is_rejected_while_a_transaction_is_open(
        self, channel: ScriptedChannel, tmp_path: Path
    ) -> None:
        database = Database.connect(make_url(f"sqlite+aiosqlite:///{tmp_path / 'loans.db'}"))
        async with UnitOfWork(database, Clock()) as work:
            await Calls(channel)(LoansClient).of_reader()
            await work.execute(text("SELECT 1"))
            with pytest.raises(CalledInTransaction, match="before it begins"):
                await Calls(channel)(LoansClient).of_reader()
            await work.commit()
            await Calls(channel)(LoansClient).of_reader()
        await database.aclose()

        assert len(channel.sent) == 2
