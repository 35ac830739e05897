import asyncio
import random
from collections import Counter

from tests.services.seating.support import SeatingService, assert_consistent
from tests.services.seating.waitlist.test_waitlist import SoldOutShow

from portico.testing.running_service import Answer


class TestContention:
    async def join(self, show: SoldOutShow, joined: list[str]) -> Answer:
        """Let a party join, unless the places can be had at this moment."""
        answer = await show.join(1)
        if answer.status_code == 201:
            joined.append(answer.json()["user_id"])
        return answer

    async def test_of_all_requests_at_once_leaves_no_party_waiting_for_free_places(
        self, seating: SeatingService
    ) -> None:
        chance = random.Random(7)  # noqa: S311  # the order of the requests, the same each time
        show = await SoldOutShow.open(seating)
        early = await show.waiting(1, 2, 1, 1)
        late: list[str] = []
        requests = [
            *(self.join(show, late) for _ in range(6)),
            *(show.leave(user) for user in early[2:]),
            *(seating.hold(show.show_id, 1) for _ in range(6)),
            *(show.release(number) for number in range(4)),
        ]
        chance.shuffle(requests)

        answers = await asyncio.gather(*requests)

        codes = Counter(each.status_code for each in answers if each is not None)
        assert set(codes) <= {201, 204, 409}
        available = (await seating.counts(show.show_id))[0]
        entries = [await show.entry(user) for user in (*early, *late)]
        assert [each for each in entries if each["status"] == "WAITING" and each["quantity"] <= available] == []
        assert [each["status"] for each in entries[2:4]] == ["LEFT", "LEFT"]
        await assert_consistent(seating, show.show_id)
