from tests.services.notifications.support import NotificationsService, order_event

from portico.contracts.notifications import NotificationId
from portico.contracts.orders import OrderId


class TestVisibility:
    async def test_a_user_sees_own_notifications(self, notifications: NotificationsService) -> None:
        ada, bob = await notifications.create_user(), await notifications.create_user()
        order_id = await notifications.confirm_order(ada)
        await notifications.confirm_order(bob)

        answer = await notifications.run.as_user(subject=ada).get("/notifications")

        assert [each["order_id"] for each in answer.json()] == [order_id]
        assert answer.headers["x-total-count"] == "1"

    async def test_the_notification_of_another_user_is_404(self, embedded: NotificationsService) -> None:
        await embedded.confirm_order(await embedded.create_user())
        notification_id = (await embedded.single())["notification_id"]

        answer = await embedded.run.as_user().get(f"/notifications/{notification_id}")

        assert (answer.status_code, answer.json()["code"]) == (404, "notification_not_found")

    async def test_the_permission_shows_all_notifications(self, embedded: NotificationsService) -> None:
        for _ in range(2):
            await embedded.confirm_order(await embedded.create_user())

        assert len(await embedded.list_notifications()) == 2

    async def test_requires_a_caller(self, embedded: NotificationsService) -> None:
        assert (await embedded.run.anonymous.get("/notifications")).status_code == 401

    async def test_a_service_requires_the_permission(self, embedded: NotificationsService) -> None:
        assert (await embedded.run.as_service("orders").get("/notifications")).status_code == 403
        assert (await embedded.run.as_service("orders", "notifications:read").get("/notifications")).status_code == 200

    async def test_retry_requires_another_permission(self, embedded: NotificationsService) -> None:
        ada = await embedded.create_user()
        await embedded.confirm_order(ada)
        notification_id = (await embedded.single())["notification_id"]

        for caller in (embedded.run.as_user(subject=ada), embedded.run.as_user("notifications:read")):
            answer = await caller.post(f"/notifications/{notification_id}/retry")
            assert (answer.status_code, answer.json()["permission"]) == (403, "notifications:write")


class TestLists:
    async def test_are_filtered(self, notifications: NotificationsService) -> None:
        ada, order_id = await notifications.create_user(), OrderId.new()
        await notifications.confirm_order(ada)
        await notifications.send_due()
        for status in ("confirmed", "shipped"):
            await notifications.run.receives(order_event(ada, order_id=order_id, status=status))

        assert len(await notifications.list_notifications(status="sent")) == 1
        assert len(await notifications.list_notifications(status="queued")) == 2
        found = await notifications.list_notifications(order_id=order_id)
        assert [each["template"] for each in found] == ["order-shipped", "order-confirmed"]
        assert await notifications.list_notifications(order_id=order_id, status="failed") == []

    async def test_are_paged_by_key(self, notifications: NotificationsService) -> None:
        ada = await notifications.create_user()
        orders = [await notifications.confirm_order(ada) for _ in range(5)]

        first = await notifications.staff.get("/notifications?limit=2")
        link = first.headers["link"].partition('>; rel="next"')[0].rpartition("<")[2]
        second = await notifications.staff.get(link)

        found = [each["order_id"] for each in [*first.json(), *second.json()]]
        assert found == orders[:0:-1]
        assert "cursor=" in link

    async def test_reject_an_unknown_filter_or_status(self, embedded: NotificationsService) -> None:
        for query in ("status=lost", "order_id=7", "user=7", "cursor=x"):
            assert (await embedded.staff.get(f"/notifications?{query}")).status_code == 422


class TestDetail:
    async def test_has_an_etag(self, notifications: NotificationsService) -> None:
        await notifications.confirm_order(await notifications.create_user())
        path = f"/notifications/{(await notifications.single())['notification_id']}"
        tag = (await notifications.staff.get(path)).headers["etag"]

        assert (await notifications.staff.get(path, headers={"if-none-match": tag})).status_code == 304
        await notifications.send_due()
        assert (await notifications.staff.get(path, headers={"if-none-match": tag})).status_code == 200

    async def test_of_an_unknown_notification_is_404(self, embedded: NotificationsService) -> None:
        for method, path in (("GET", ""), ("POST", "/retry")):
            answer = await embedded.staff.request(method, f"/notifications/{NotificationId.new()}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "notification_not_found")
