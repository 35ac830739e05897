import pytest

from portico.kit.calls.budget import RetryBudget
from portico.kit.calls.channel import (
    AnswerTooLarge,
    BreakerOpen,
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Incoming,
    Outgoing,
    Saturated,
    Unreachable,
)
from portico.kit.calls.retries import RetryingChannel
from portico.testing.channels import ScriptedChannel, answering
from portico.testing.clock import HeldClock

WELL = answering(200)
UNREACHABLE = Unreachable("user", "refused")
LOST = ConnectionLost("user", "reset")


class Trial:
    """A retrying channel over a script, with a clock that its waits move."""

    def __init__(self, *script: Incoming | CallFailed, burst: int = 10, draw: float = 1.0) -> None:
        self.clock = HeldClock()
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


class TestWhatIsTriedAgain:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_whatever_was_never_sent(self, method: str) -> None:
        trial = Trial(UNREACHABLE, WELL)

        assert await trial.send(method) is WELL
        assert trial.channel.retries == 1

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    @pytest.mark.parametrize("outcome", [LOST, answering(502), answering(503), answering(504)])
    async def test_what_is_idempotent_also_when_it_may_have_taken_effect(
        self, method: str, outcome: Incoming | CallFailed
    ) -> None:
        assert await Trial(outcome, WELL).send(method) is WELL

    async def test_a_post_that_may_be_repeated(self) -> None:
        assert await Trial(LOST, WELL).send("POST", repeatable=True) is WELL

    async def test_one_whose_key_is_still_in_flight(self) -> None:
        in_flight = answering(409, headers=[(b"retry-after", b"1")])

        assert await Trial(in_flight, WELL).send("POST", repeatable=True) is WELL

    async def test_no_more_than_twice(self) -> None:
        trial = Trial(UNREACHABLE)
        with pytest.raises(Unreachable):
            await trial.send()

        assert len(trial.scripted.sent) == 3


class TestWhatIsNot:
    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_what_may_have_taken_effect_and_is_not_idempotent(self, method: str) -> None:
        trial = Trial(LOST, WELL)
        with pytest.raises(ConnectionLost):
            await trial.send(method)

        assert len(trial.scripted.sent) == 1

    async def test_nor_when_the_service_said_503_to_it(self) -> None:
        assert (await Trial(answering(503), WELL).send("POST")).status == 503

    @pytest.mark.parametrize("status", [200, 400, 404, 409, 429, 500])
    async def test_other_answers(self, status: int) -> None:
        trial = Trial(answering(status), WELL)

        assert (await trial.send()).status == status

    @pytest.mark.parametrize(
        "failure",
        [
            BreakerOpen("user", retry_after=0.01),
            Saturated("user", limit=1, retry_after=0.01),
            CallTimedOut("user", ""),
            AnswerTooLarge("user", limit=1),
        ],
    )
    async def test_what_would_only_add_to_the_trouble(self, failure: CallFailed) -> None:
        trial = Trial(failure, WELL)
        with pytest.raises(type(failure)):
            await trial.send()


class TestDoubt:
    @pytest.mark.parametrize("outcome", [LOST, answering(502), answering(503), answering(504)])
    async def test_an_answer_after_an_attempt_that_nobody_saw_the_end_of_says_so(
        self, outcome: Incoming | CallFailed
    ) -> None:
        assert (await Trial(outcome, answering(409)).send("PUT")).in_doubt

    async def test_whatever_comes_between(self) -> None:
        assert (await Trial(LOST, UNREACHABLE, answering(409)).send("PUT")).in_doubt

    async def test_one_after_nothing_was_sent_does_not(self) -> None:
        assert not (await Trial(UNREACHABLE, answering(409)).send("PUT")).in_doubt

    async def test_nor_does_the_first(self) -> None:
        assert not (await Trial(answering(409)).send("PUT")).in_doubt


class TestWaits:
    async def test_their_limit_doubles(self) -> None:
        trial = Trial(UNREACHABLE)
        with pytest.raises(Unreachable):
            await trial.send()

        assert trial.waits == [0.05, 0.1]

    async def test_they_are_drawn_from_nothing_up_to_it(self) -> None:
        trial = Trial(UNREACHABLE, WELL, draw=0.0)
        await trial.send()

        assert trial.waits == [0.0]

    async def test_as_long_as_the_service_asks_and_a_little_more(self) -> None:
        trial = Trial(answering(503, headers=[(b"retry-after", b"2")]), WELL)
        await trial.send()

        assert trial.waits == [2.05]

    async def test_one_asked_for_that_is_too_long_gives_the_answer_at_once(self) -> None:
        trial = Trial(answering(503, headers=[(b"retry-after", b"3")]), WELL)

        assert (await trial.send()).status == 503

    async def test_none_goes_beyond_the_time_of_the_call(self) -> None:
        trial = Trial(UNREACHABLE, WELL)
        with pytest.raises(Unreachable):
            await trial.send(within=0.05)

        assert trial.waits == []

    async def test_each_attempt_has_the_time_that_is_left(self) -> None:
        trial = Trial(UNREACHABLE, UNREACHABLE, WELL)
        await trial.send(within=10.0)

        assert [out.timeout for out in trial.scripted.sent] == pytest.approx([10.0, 9.95, 9.85])

    async def test_each_attempt_knows_what_was_tried(self) -> None:
        trial = Trial(UNREACHABLE, WELL)
        await trial.send()

        assert trial.scripted.sent[0].tried is trial.scripted.sent[1].tried


class TestBudget:
    async def test_spent_it_ends_trying_again(self) -> None:
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
