import asyncio
from urllib.parse import parse_qs

import pytest

from portico.kit.calls.channel import CallFailed, Incoming, Outgoing, Refused, Unreachable
from portico.kit.calls.client import Layout
from portico.kit.calls.identity import ServiceIdentity
from portico.testing.channels import ScriptedChannel, canned_response
from portico.testing.clock import ManualClock


def granted(token: str, life: int = 100) -> Incoming:
    return canned_response(
        200, b'{"access_token": "%s", "expires_in": %d, "token_type": "bearer"}' % (token.encode(), life)
    )


class Waiting(ScriptedChannel):
    """A channel that responds when the test allows it."""

    def __init__(self, *script: Incoming | CallFailed) -> None:
        super().__init__(*script)
        self.may_answer = asyncio.Event()

    async def send(self, out: Outgoing) -> Incoming:
        await self.may_answer.wait()
        return await super().send(out)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def identity(channel: ScriptedChannel, clock: ManualClock, layout: Layout | None = None) -> ServiceIdentity:
    return ServiceIdentity(
        channel, name="catalog", secret="s3cret&", layout=layout or Layout(), monotonic=clock.monotonic
    )


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class TestServiceIdentity:
    async def test_requests_a_token_with_name_and_secret(self, clock: ManualClock) -> None:
        channel = ScriptedChannel(granted("one"))
        layout = Layout("/api", {"identity": "auth"})

        assert await identity(channel, clock, layout)() == "one"

        (out,) = channel.sent
        assert (out.service, out.method, out.path) == ("auth", "POST", "/api/oauth/token")
        assert parse_qs(out.body.decode()) == {
            "grant_type": ["client_credentials"],
            "client_id": ["catalog"],
            "client_secret": ["s3cret&"],
        }

    async def test_reuses_the_token(self, clock: ManualClock) -> None:
        channel = ScriptedChannel(granted("one"), granted("two"))
        own = identity(channel, clock)

        assert [await own(), await own()] == ["one", "one"]

    async def test_concurrent_callers_share_one_request(self, clock: ManualClock) -> None:
        channel = Waiting(granted("one"))
        own = identity(channel, clock)
        callers = [asyncio.create_task(own()) for _ in range(5)]
        await settled()
        callers[0].cancel()
        channel.may_answer.set()

        assert await asyncio.gather(*callers[1:]) == ["one"] * 4
        assert len(channel.sent) == 1

    async def test_renews_the_token_in_the_background_before_it_expires(self, clock: ManualClock) -> None:
        channel = ScriptedChannel(granted("one"), granted("two"))
        own = identity(channel, clock)
        await own()
        clock.advance(80)

        assert await own() == "one"
        await settled()
        assert await own() == "two"

    async def test_uses_the_old_token_until_it_expires_if_renewal_fails(self, clock: ManualClock) -> None:
        channel = ScriptedChannel(granted("one"), Unreachable("identity", "refused"))
        own = identity(channel, clock)
        await own()
        clock.advance(80)
        await own()
        await settled()
        await own()
        await settled()
        assert len(channel.sent) == 2  # there is no immediate retry
        clock.advance(15)

        with pytest.raises(Unreachable):
            await own()

    async def test_probes_a_failing_issuer_at_most_once_a_second(self, clock: ManualClock) -> None:
        channel = ScriptedChannel(Unreachable("identity", "refused"))
        own = identity(channel, clock)
        for seconds in (0, 0.5, 0.5):
            clock.advance(seconds)
            with pytest.raises(Unreachable):
                await own()

        assert [out.probe for out in channel.sent] == [True, False, True]

    async def test_a_rejected_secret_raises_an_error_without_the_secret(self, clock: ManualClock) -> None:
        own = identity(ScriptedChannel(canned_response(401, b'{"code": "invalid_client"}')), clock)

        with pytest.raises(Refused) as refused:
            await own()

        assert refused.value.code == "invalid_client"
        assert "s3cret" not in str(refused.value)

    async def test_a_rejected_token_is_replaced(self, clock: ManualClock) -> None:
        own = identity(ScriptedChannel(granted("one"), granted("two")), clock)
        own.forget(await own())

        assert await own() == "two"

    async def test_a_token_is_replaced_only_once(self, clock: ManualClock) -> None:
        own = identity(ScriptedChannel(granted("one"), granted("two"), granted("three")), clock)
        own.forget(await own())
        await own()
        own.forget("one")

        assert await own() == "two"

    async def test_closing_cancels_a_token_request(self, clock: ManualClock) -> None:
        own = identity(Waiting(granted("one")), clock)
        caller = asyncio.create_task(own())
        await settled()
        await own.aclose()

        with pytest.raises(asyncio.CancelledError):
            await caller
