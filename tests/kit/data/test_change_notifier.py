from tests.examples.loans.models import Book

from portico.testing.running_service import RunningService


class TestChangeNotifier:
    async def test_a_commit_wakes_the_followers_of_the_changed_object(self, loans: RunningService) -> None:
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

    async def test_a_rollback_wakes_no_follower(self, loans: RunningService) -> None:
        change_notifier = loans.context.database.change_notifier
        with change_notifier.follow("book_1") as changed:
            async with loans.context.unit_of_work() as work:
                work.add(Book(title="Dune"))
                work.changes("book_1")

            assert not changed.is_set()

    async def test_the_stop_of_the_service_wakes_every_follower(self, loans: RunningService) -> None:
        change_notifier = loans.context.change_notifier
        with change_notifier.follow("book_1") as one, change_notifier.follow("book_2") as other:
            loans.context.stop()

            assert (one.is_set(), other.is_set()) == (True, True)

    async def test_followers_that_left_are_forgotten(self, loans: RunningService) -> None:
        change_notifier = loans.context.database.change_notifier
        with change_notifier.follow("book_1"):
            pass
        change_notifier.notify("book_1")

        assert change_notifier._waiting == {}
