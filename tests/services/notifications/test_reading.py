from tests.services.notifications.letters import Letters, order

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId


class TestWhoSees:
    async def test_a_user_its_own(self, letters: Letters) -> None:
        ada, bob = await letters.known_user(), await letters.known_user()
        order_id = await letters.confirmed(ada)
        await letters.confirmed(bob)

        answer = await letters.run.as_user(subject=ada).get("/notifications")

        assert [each["order_id"] for each in answer.json()] == [order_id]
        assert answer.headers["x-total-count"] == "1"

    async def test_another_users_there_is_not(self, embedded: Letters) -> None:
        await embedded.confirmed(await embedded.known_user())
        notification_id = (await embedded.only())["notification_id"]

        answer = await embedded.run.as_user().get(f"/notifications/{notification_id}")

        assert (answer.status_code, answer.json()["code"]) == (404, "notification_not_found")

    async def test_who_may_read_all_sees_all(self, embedded: Letters) -> None:
        for _ in range(2):
            await embedded.confirmed(await embedded.known_user())

        assert len(await embedded.listed()) == 2

    async def test_nobody_sees_none(self, embedded: Letters) -> None:
        assert (await embedded.run.anonymous.get("/notifications")).status_code == 401

    async def test_a_service_needs_the_permission(self, embedded: Letters) -> None:
        assert (await embedded.run.as_service("orders").get("/notifications")).status_code == 403
        assert (await embedded.run.as_service("orders", "notifications:read").get("/notifications")).status_code == 200

    async def test_to_try_again_takes_another_permission(self, embedded: Letters) -> None:
        ada = await embedded.known_user()
        await embedded.confirmed(ada)
        notification_id = (await embedded.only())["notification_id"]

        for caller in (embedded.run.as_user(subject=ada), embedded.run.as_user("notifications:read")):
            answer = await caller.post(f"/notifications/{notification_id}/retry")
            assert (answer.status_code, answer.json()["permission"]) == (403, "notifications:write")


class TestLists:
    async def test_are_filtered(self, letters: Letters) -> None:
        ada, order_id = await letters.known_user(), OrderId.new()
        await letters.confirmed(ada)
        await letters.send()
        for status in ("confirmed", "shipped"):
            await letters.run.receives(order(ada, order_id=order_id, status=status))

        assert len(await letters.listed(status="sent")) == 1
        assert len(await letters.listed(status="queued")) == 2
        found = await letters.listed(order_id=order_id)
        assert [each["template"] for each in found] == ["order-shipped", "order-confirmed"]
        assert await letters.listed(order_id=order_id, status="failed") == []

    async def test_are_paged_by_key(self, letters: Letters) -> None:
        ada = await letters.known_user()
        orders = [await letters.confirmed(ada) for _ in range(5)]

        first = await letters.staff.get("/notifications?limit=2")
        link = first.headers["link"].partition('>; rel="next"')[0].rpartition("<")[2]
        second = await letters.staff.get(link)

        found = [each["order_id"] for each in [*first.json(), *second.json()]]
        assert found == orders[:0:-1]
        assert "cursor=" in link

    async def test_an_unknown_filter_or_state_is_refused(self, embedded: Letters) -> None:
        for query in ("status=lost", "order_id=7", "user=7", "cursor=x"):
            assert (await embedded.staff.get(f"/notifications?{query}")).status_code == 422


class TestOne:
    async def test_has_a_tag(self, letters: Letters) -> None:
        await letters.confirmed(await letters.known_user())
        path = f"/notifications/{(await letters.only())['notification_id']}"
        tag = (await letters.staff.get(path)).headers["etag"]

        assert (await letters.staff.get(path, headers={"if-none-match": tag})).status_code == 304
        await letters.send()
        assert (await letters.staff.get(path, headers={"if-none-match": tag})).status_code == 200

    async def test_that_there_is_not_is_a_404(self, embedded: Letters) -> None:
        for method, path in (("GET", ""), ("POST", "/retry")):
            answer = await embedded.staff.request(method, f"/notifications/{NotificationId.new()}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "notification_not_found")
