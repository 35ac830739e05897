import asyncio

from structlog.testing import capture_logs

from portico.kit.messaging.brokers.keyed_dispatcher import consume_until_cancelled, run_until_first_ends


class TestConsumeUntilCancelled:
    async def test_continues_after_an_unexpected_error(self) -> None:
        errors = [ValueError("a header is not valid"), ValueError("a header is not valid")]
        again = asyncio.Event()

        async def once() -> None:
            if errors:
                raise errors.pop()
            again.set()
            await asyncio.Event().wait()

        with capture_logs() as lines:
            async with asyncio.timeout(20):
                await run_until_first_ends(consume_until_cancelled("shipping", once), again.wait())

        first, repeated = lines
        assert (first["event"], first["group"], first["log_level"]) == ("consuming_failed", "shipping", "error")
        assert (repeated["event"], repeated["log_level"]) == ("consuming_failed", "warning")
        assert repeated["error"] == "ValueError('a header is not valid')"
