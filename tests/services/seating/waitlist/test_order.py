import random

import pytest
from tests.services.seating.support import SeatingService, assert_consistent
from tests.services.seating.waitlist.test_waitlist import SoldOutShow

from portico.kit import UserId


class TestOrder:
    @pytest.mark.parametrize("seed", range(3))
    async def test_no_party_waits_for_places_that_are_free(self, embedded: SeatingService, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311  # which steps, the same each time
        show = await SoldOutShow.open(embedded, 1, 2, 3)
        waiting: dict[str, int] = {}

        for _ in range(40):
            match chance.randrange(5):
                case 0 | 1:
                    user, quantity = UserId.new(), chance.randint(1, 4)
                    if (await show.join(quantity, user=user)).status_code == 201:
                        waiting[user] = quantity
                case 2 if waiting:
                    await show.leave(chance.choice(list(waiting)))
                case 3:
                    hold = await embedded.hold(show.show_id, chance.randint(1, 3))
                    if hold.status_code == 201:
                        show.holds.append(hold.json())
                case 4 if show.holds:
                    await show.release(chance.randrange(len(show.holds)))
                case _:
                    embedded.run.clock.advance(600)
                    await embedded.end_due_holds()
            available = (await embedded.counts(show.show_id))[0]
            entries = {user: await show.entry(user) for user in waiting}
            assert [
                user for user, each in entries.items() if each["status"] == "WAITING" and each["quantity"] <= available
            ] == []
            positions = [each["position"] for each in entries.values() if each["status"] == "WAITING"]
            assert positions == list(range(1, len(positions) + 1))
        await assert_consistent(embedded, show.show_id)
