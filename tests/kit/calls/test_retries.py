import pytest

from portico.kit.calls.channel import (
    BreakerOpen,
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Incoming,
    Outgoing,
    ResponseTooLarge,
    Saturated,
    Unreachable,
)
from portico.kit.calls.retries import RetryBudget, RetryingChannel
from portico.testing.channels import ScriptedChannel, canned_response
from portico.testing.clock import ManualClock

WELL = canned_response(200)
UNREACHABLE = Unreachable("user", "refused")
LOST = ConnectionLost("user", "reset")


class Trial:
    """A retrying channel over scripted outcomes, with a clock that advances during delays."""

    def __init__(self, *script: Incoming | CallFailed, burst: int = 10, draw: float = 1.0) -> None:
        self.clock = ManualClock()
        self.waits: list[float] = []
        self.scripted = ScriptedChannel(*script)
        self.channel = RetryingChannel(
            self.scripted,
            new_budget=lambda: RetryBudget(burst=burst),
            draw=lambda: draw,
            sleep=self.sleep,
            monotonic=self.clock.monotonic,
        )

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)

    async def send(self, method: str = "GET", within: float = 10.0, *, repeatable: bool = False) -> Incoming:
        return await self.channel.send(Outgoing("user", method, "/", timeout=within, repeatable=repeatable))


class TestRetried:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_calls_that_were_never_sent(self, method: str) -> None:
        trial = Trial(UNREACHABLE, WELL)

        assert await trial.send(method) is WELL
        assert trial.channel.retries == 1

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    @pytest.mark.parametrize("outcome", [LOST, canned_response(502), canned_response(503), canned_response(504)])
    async def test_idempotent_calls_that_may_have_taken_effect(
        self, method: str, outcome: Incoming | CallFailed
    ) -> None:
        assert await Trial(outcome, WELL).send(method) is WELL

    async def test_a_repeatable_post(self) -> None:
        assert await Trial(LOST, WELL).send("POST", repeatable=True) is WELL

    async def test_a_call_whose_idempotency_key_is_in_flight(self) -> None:
        in_flight = canned_response(409, headers=[(b"retry-after", b"1")])

        assert await Trial(in_flight, WELL).send("POST", repeatable=True) is WELL

    async def test_at_most_twice(self) -> None:
        trial = Trial(UNREACHABLE)
        with pytest.raises(Unreachable):
            await trial.send()

        assert len(trial.scripted.sent) == 3


class TestNotRetried:
    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_calls_that_may_have_taken_effect_and_are_not_idempotent(self, method: str) -> None:
        trial = Trial(LOST, WELL)
        with pytest.raises(ConnectionLost):
            await trial.send(method)

        assert len(trial.scripted.sent) == 1

    async def test_a_post_answered_with_503(self) -> None:
        assert (await Trial(canned_response(503), WELL).send("POST")).status == 503

    @pytest.mark.parametrize("status", [200, 400, 404, 409, 429, 500])
    async def test_other_statuses(self, status: int) -> None:
        trial = Trial(canned_response(status), WELL)

        assert (await trial.send()).status == status

    @pytest.mark.parametrize(
        "failure",
        [
            BreakerOpen("user", retry_after=0.01),
            Saturated("user", limit=1, retry_after=0.01),
            CallTimedOut("user", ""),
            ResponseTooLarge("user", limit=1),
        ],
    )
    async def test_open_breakers_and_full_channels(self, failure: CallFailed) -> None:
        trial = Trial(failure, WELL)
        with pytest.raises(type(failure)):
            await trial.send()


class TestInDoubt:
    @pytest.mark.parametrize("outcome", [LOST, canned_response(502), canned_response(503), canned_response(504)])
    async def test_set_after_an_attempt_with_unknown_outcome(self, outcome: Incoming | CallFailed) -> None:
        assert (await Trial(outcome, canned_response(409)).send("PUT")).in_doubt

    async def test_set_even_if_other_attempts_follow(self) -> None:
        assert (await Trial(LOST, UNREACHABLE, canned_response(409)).send("PUT")).in_doubt

    async def test_not_set_if_nothing_was_sent_before(self) -> None:
        assert not (await Trial(UNREACHABLE, canned_response(409)).send("PUT")).in_doubt

    async def test_not_set_for_the_first_attempt(self) -> None:
        assert not (await Trial(canned_response(409)).send("PUT")).in_doubt


class TestDelays:
    async def test_the_limit_doubles(self) -> None:
        trial = Trial(UNREACHABLE)
        with pytest.raises(Unreachable):
            await trial.send()

        assert trial.waits == [0.05, 0.1]

    async def test_are_random_up_to_the_limit(self) -> None:
        trial = Trial(UNREACHABLE, WELL, draw=0.0)
        await trial.send()

        assert trial.waits == [0.0]

    async def test_add_to_retry_after(self) -> None:
        trial = Trial(canned_response(503, headers=[(b"retry-after", b"2")]), WELL)
        await trial.send()

        assert trial.waits == [2.05]

    async def test_a_long_retry_after_returns_the_response_at_once(self) -> None:
        trial = Trial(canned_response(503, headers=[(b"retry-after", b"3")]), WELL)

        assert (await trial.send()).status == 503

    async def test_never_exceed_the_time_limit(self) -> None:
        trial = Trial(UNREACHABLE, WELL)
        with pytest.raises(Unreachable):
            await trial.send(within=0.05)

        assert trial.waits == []

    async def test_each_attempt_gets_the_remaining_time(self) -> None:
        trial = Trial(UNREACHABLE, UNREACHABLE, WELL)
        await trial.send(within=10.0)

        assert [out.timeout for out in trial.scripted.sent] == pytest.approx([10.0, 9.95, 9.85])

    async def test_each_attempt_knows_the_origins_tried(self) -> None:
        trial = Trial(UNREACHABLE, WELL)
        await trial.send()

        assert trial.scripted.sent[0].tried is trial.scripted.sent[1].tried


class TestBudget:
    async def test_no_retry_without_budget(self) -> None:
        trial = Trial(UNREACHABLE, burst=1)
        for _ in range(2):
            with pytest.raises(Unreachable):
                await trial.send()

        assert len(trial.scripted.sent) == 3

    async def test_each_service_has_its_own(self) -> None:
        trial = Trial(UNREACHABLE, burst=1)
        for service in ("user", "orders"):
            with pytest.raises(Unreachable):
                await trial.channel.send(Outgoing(service, "GET", "/"))

        assert len(trial.scripted.sent) == 4
