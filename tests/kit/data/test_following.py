from tests.examples.loans.models import Book

from portico.testing.running_service import RunningService


class TestFollowing:
    async def test_a_commit_wakes_those_who_follow_what_it_changed(self, loans: RunningService) -> None:
        change_notifier = loans.context.database.change_notifier
        with (
            change_notifier.follow("book_1") as one,
            change_notifier.follow("book_1") as two,
            change_notifier.follow("book_2") as other,
        ):
            async with loans.context.transaction() as work:
                work.add(Book(title="Dune"))
                work.changes("book_1")
                assert not one.is_set()

            assert (one.is_set(), two.is_set(), other.is_set()) == (True, True, False)

    async def test_nobody_is_woken_by_what_is_rolled_back(self, loans: RunningService) -> None:
        change_notifier = loans.context.database.change_notifier
        with change_notifier.follow("book_1") as changed:
            async with loans.context.unit_of_work() as work:
                work.add(Book(title="Dune"))
                work.changes("book_1")

            assert not changed.is_set()

    async def test_nothing_is_kept_of_who_went_away(self, loans: RunningService) -> None:
        change_notifier = loans.context.database.change_notifier
        with change_notifier.follow("book_1"):
            pass
        change_notifier.tell("book_1")

        assert change_notifier._waiting == {}
