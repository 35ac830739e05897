"""What every cache must do. A subclass says which cache, and lets time pass for it."""

import asyncio
from abc import ABC, abstractmethod

import pytest

from portico.kit.cache.base import Cache
from portico.kit.cache.group import CacheGroup

LARGEST = 1000  # bytes of a value that the subclass's cache keeps at most, more or less


class Maker:
    """Makes "made 1", "made 2" and so on, each when the test lets it."""

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
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


class CacheContract(ABC):
    """Subclass it as `TestMyCache`, with a fixture `cache`: empty, keeping values up to `LARGEST` bytes."""

    @abstractmethod
    async def pass_time(self, cache: Cache, seconds: float) -> None:
        """Let what is in the cache grow older."""

    @pytest.fixture
    def maker(self) -> Maker:
        return Maker()

    async def test_it_is_there_to_be_used(self, cache: Cache) -> None:
        await cache.check()

    @pytest.mark.parametrize("value", [b"value", b"", b"\x00\xff"])
    async def test_what_was_set_is_got(self, cache: Cache, value: bytes) -> None:
        await cache.set("key", value, 60)

        assert await cache.get("key") == value

    async def test_what_was_not_set_is_none(self, cache: Cache) -> None:
        assert await cache.get("key") is None

    async def test_setting_again_replaces(self, cache: Cache) -> None:
        await cache.set("key", b"old", 60)
        await cache.set("key", b"new", 60)

        assert await cache.get("key") == b"new"

    async def test_its_time_over_it_is_gone(self, cache: Cache) -> None:
        await cache.set("short", b"value", 10)
        await cache.set("long", b"value", 100)
        await self.pass_time(cache, 11)

        assert await cache.get("short") is None
        assert await cache.get("long") == b"value"

    async def test_deleted_ones_are_gone_and_others_stay(self, cache: Cache) -> None:
        for key in ("a", "b", "c"):
            await cache.set(key, b"value", 60)
        await cache.delete("a", "b", "never there")

        assert [await cache.get(key) for key in ("a", "b", "c")] == [None, None, b"value"]

    async def test_a_value_too_large_is_not_kept_nor_what_it_replaces(self, cache: Cache) -> None:
        await cache.set("key", b"old", 60)
        await cache.set("key", b"x" * LARGEST * 2, 60)

        assert await cache.get("key") is None

    async def test_counts_only_grow(self, cache: Cache) -> None:
        assert await cache.count("key") is None
        first = await cache.incr("key")
        second = await cache.incr("key")

        assert second > first
        assert await cache.count("key") == second

    async def test_a_value_is_made_once_and_kept(self, cache: Cache, maker: Maker) -> None:
        maker.may_end.set()

        assert await cache.get_or_make("key", maker, 60) == b"made 1"
        assert await cache.get_or_make("key", maker, 60) == b"made 1"
        assert await cache.get("key") == b"made 1"

    async def test_callers_at_once_share_one_making(self, cache: Cache, maker: Maker) -> None:
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

    async def test_what_the_maker_raises_is_raised_to_all_and_not_kept(self, cache: Cache, maker: Maker) -> None:
        maker.error = LookupError("gone")
        leader = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        follower = asyncio.create_task(cache.get_or_make("key", maker, 60))
        maker.may_end.set()

        outcomes = await asyncio.gather(leader, follower, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [LookupError, LookupError]
        assert await cache.get_or_make("key", at_once, 60) == b"at once"

    async def test_when_the_one_that_makes_it_is_cancelled_another_does(self, cache: Cache, maker: Maker) -> None:
        leader = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        follower = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await settled()
        leader.cancel()
        maker.may_end.set()

        assert await follower == b"made 2"

    async def test_one_that_waits_may_give_up_without_the_others(self, cache: Cache, maker: Maker) -> None:
        callers = [asyncio.create_task(cache.get_or_make("key", maker, 60)) for _ in range(3)]
        await maker.begun.wait()
        await settled()
        callers[1].cancel()
        await asyncio.wait([callers[1]])
        maker.may_end.set()

        assert [await callers[0], await callers[2]] == [b"made 1", b"made 1"]

    async def test_what_was_deleted_while_it_was_made_is_not_kept(self, cache: Cache, maker: Maker) -> None:
        early = asyncio.create_task(cache.get_or_make("key", maker, 60))
        await maker.begun.wait()
        await cache.delete("key")
        late = await cache.get_or_make("key", at_once, 60)
        maker.may_end.set()
        await early

        assert late == b"at once"
        assert await cache.get("key") == b"at once"

    async def test_shortly_before_its_end_one_makes_it_anew_and_others_get_the_old(
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

    async def test_a_group_is_forgotten_as_one(self, cache: Cache, maker: Maker) -> None:
        maker.may_end.set()
        group, other = CacheGroup(cache, "products"), CacheGroup(cache, "users")
        await group.get_or_make("page 1", maker, 60)
        await group.get_or_make("page 2", maker, 60)
        await other.get_or_make("page 1", maker, 60)
        await group.forget()

        assert await group.get_or_make("page 1", at_once, 60) == b"at once"
        assert await group.get_or_make("page 2", at_once, 60) == b"at once"
        assert await other.get_or_make("page 1", at_once, 60) == b"made 3"

    async def test_what_was_being_made_for_a_group_is_forgotten_with_it(self, cache: Cache, maker: Maker) -> None:
        group = CacheGroup(cache, "products")
        early = asyncio.create_task(group.get_or_make("page", maker, 60))
        await maker.begun.wait()
        await group.forget()
        maker.may_end.set()
        await early

        assert await group.get_or_make("page", at_once, 60) == b"at once"
