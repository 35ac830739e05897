"""Contract of caches. A subclass provides the cache and advances its time."""

import asyncio
from abc import ABC, abstractmethod

import pytest

from portico.kit.cache.base import Cache, CacheGroup

MAX_VALUE_BYTES = 1000  # approximate maximum size (bytes) of a value in the subclass's cache


class Maker:
    """Computes "made 1", "made 2" and so on, each when the test allows it."""

    def __init__(self) -> None:
        self.made = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> bytes:
        self.made += 1
        value = b"made %d" % self.made
        self.begun.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return value


async def at_once() -> bytes:
    return b"at once"


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class CacheContract(ABC):
    """Subclass it as `TestMyCache`, with a fixture `cache`: empty, for values of up to `MAX_VALUE_BYTES` bytes."""

    @abstractmethod
    async def pass_time(self, cache: Cache, seconds: float) -> None:
        """Advance the time of the cache."""

    @pytest.fixture
    def maker(self) -> Maker:
        return Maker()

    async def test_it_is_usable(self, cache: Cache) -> None:
        await cache.check()

    @pytest.mark.parametrize("value", [b"value", b"", b"\x00\xff"])
    async def test_get_returns_what_was_set(self, cache: Cache, value: bytes) -> None:
        await cache.set("key", value, 60)

        assert await cache.get("key") == value

    async def test_get_returns_none_for_a_missing_key(self, cache: Cache) -> None:
        assert await cache.get("key") is None

    async def test_set_replaces_a_value(self, cache: Cache) -> None:
        await cache.set("key", b"old", 60)
        await cache.set("key", b"new", 60)

        assert await cache.get("key") == b"new"

    async def test_a_value_expires(self, cache: Cache) -> None:
        await cache.set("short", b"value", 10)
        await cache.set("long", b"value", 100)
        await self.pass_time(cache, 11)

        assert await cache.get("short") is None
        assert await cache.get("long") == b"value"

    async def test_delete_removes_only_the_given_keys(self, cache: Cache) -> None:
        for key in ("a", "b", "c"):
            await cache.set(key, b"value", 60)
        await cache.delete("a", "b", "never there")

        assert [await cache.get(key) for key in ("a", "b", "c")] == [None, None, b"value"]

    async def test_a_large_value_is_not_stored_and_removes_the_old_one(self, cache: Cache) -> None:
        await cache.set("key", b"old", 60)
        await cache.set("key", b"x" * MAX_VALUE_BYTES * 2, 60)

        assert await cache.get("key") is None

    async def test_counts_only_grow(self, cache: Cache) -> None:
        assert await cache.count("key") is None
        first = await cache.incr("key")
        second = await cache.incr("key")

        assert second > first
        assert await cache.count("key") == second

    async def test_a_value_is_made_once_and_stored(self, cache: Cache, maker: Maker) -> None:
        maker.may_end.set()

        assert await cache.get_or_make("key", maker, 60) == b"made 1"
        assert await cache.get_or_make("key", maker, 60) == b"made 1"
        assert await cache.get("key") == b"made 1"

    async def test_concurrent_callers_share_one_computation(self, cache: Cache, maker: Maker) -> None:
        callers = [asyncio.create_task(cache.get_or_make("key", maker, 60)) for _ in range(20)]
        await maker.begun.wait()
        maker.may_end.set()

        assert set(await asyncio.gather(*callers)) == {b"made 1"}

    async def test_other_keys_do_not_wait(self, cache: Cache, maker: Maker) -> None:
        slow = asyncio.create_task(cache.get_or_make("slow", maker, 60))
        await maker.begun.wait()

        assert await cache.get_or_make("other", at_once, 60) == b"at once"
        maker.may_end.set()
        await slow

    async def test_an_error_is_raised_to_all_callers_and_not_stored(self, cache: Cache, maker: Maker) -> None:
        maker.error = LookupError("gone")
        leader = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        follower = asyncio.create_task(cache.get_or_make("key", maker, 60))
        maker.may_end.set()

        outcomes = await asyncio.gather(leader, follower, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [LookupError, LookupError]
        assert await cache.get_or_make("key", at_once, 60) == b"at once"

    async def test_another_caller_computes_if_the_first_is_cancelled(self, cache: Cache, maker: Maker) -> None:
        leader = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        follower = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await settled()
        leader.cancel()
        maker.may_end.set()

        assert await follower == b"made 2"

    async def test_a_cancelled_waiter_does_not_affect_others(self, cache: Cache, maker: Maker) -> None:
        leader = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        cancelled, waiting = [asyncio.create_task(cache.get_or_make("key", maker, 60)) for _ in range(2)]
        await settled()
        cancelled.cancel()
        await asyncio.wait([cancelled])
        maker.may_end.set()

        assert [await leader, await waiting] == [b"made 1", b"made 1"]

    async def test_a_value_deleted_during_its_computation_is_not_stored(self, cache: Cache, maker: Maker) -> None:
        early = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        await cache.delete("key")
        late = await cache.get_or_make("key", at_once, 60)
        maker.may_end.set()
        await early

        assert late == b"at once"
        assert await cache.get("key") == b"at once"

    async def test_shortly_before_expiry_one_caller_refreshes_and_others_get_the_old_value(
        self, cache: Cache, maker: Maker
    ) -> None:
        await cache.set("key", b"old", 100)
        await self.pass_time(cache, 95)
        leader = asyncio.create_task(cache.get_or_make("key", maker, 100))
        await maker.begun.wait()
        others = [await cache.get_or_make("key", maker, 100) for _ in range(3)]
        maker.may_end.set()

        assert others == [b"old"] * 3
        assert await leader == b"made 1"
        assert await cache.get("key") == b"made 1"

    async def test_a_group_is_invalidated_as_a_whole(self, cache: Cache, maker: Maker) -> None:
        maker.may_end.set()
        group, other = CacheGroup(cache, "products"), CacheGroup(cache, "users")
        await group.get_or_make("page 1", maker, 60)
        await group.get_or_make("page 2", maker, 60)
        await other.get_or_make("page 1", maker, 60)
        await group.invalidate()

        assert await group.get_or_make("page 1", at_once, 60) == b"at once"
        assert await group.get_or_make("page 2", at_once, 60) == b"at once"
        assert await other.get_or_make("page 1", at_once, 60) == b"made 3"

    async def test_a_value_computed_during_an_invalidation_is_not_stored(self, cache: Cache, maker: Maker) -> None:
        group = CacheGroup(cache, "products")
        early = asyncio.create_task(group.get_or_make("page", maker, 60))
        await maker.begun.wait()
        await group.invalidate()
        maker.may_end.set()
        await early

        assert await group.get_or_make("page", at_once, 60) == b"at once"
