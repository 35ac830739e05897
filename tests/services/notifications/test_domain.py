from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from portico.services.notifications.domain import SendingRules, next_recheck
from portico.services.notifications.settings import NotificationsSettings

RULES = SendingRules.of(NotificationsSettings.model_validate({}), lease=60)


class TestDelays:
    def test_quadruple_up_to_the_limit(self) -> None:
        delays = [RULES.delay_after(tries).total_seconds() for tries in range(1, 8)]

        assert delays == [5, 20, 80, 320, 1280, 3600, 3600]

    def test_never_decrease(self) -> None:
        delays = [RULES.delay_after(tries) for tries in range(1, 101)]

        assert delays == sorted(delays)


class TestRechecks:
    @given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=7)))
    def test_are_between_a_second_and_a_minute_apart(self, waited: timedelta) -> None:
        assert timedelta(seconds=1) <= next_recheck(waited) <= timedelta(minutes=1)
