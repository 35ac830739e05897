from tests.services.payments.support import charge, read

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.testing.running_service import RunningService


class TestRead:
    async def test_user_reads_their_own_payment(self, payments: RunningService) -> None:
        ada = UserId.new()
        payment = await charge(payments, user_id=ada)

        response = await payments.as_user(subject=ada).get(f"/payments/{payment['payment_id']}")

        assert response.json() == payment
        assert response.headers["etag"]

    async def test_payment_of_another_user_is_not_found(self, payments: RunningService) -> None:
        payment = await charge(payments)

        for path in (f"/payments/{payment['payment_id']}", f"/payments/{payment['payment_id']}/refunds"):
            response = await payments.as_user().get(path)
            assert (response.status_code, response.json()["code"]) == (404, "payment_not_found")
            assert (await payments.as_user("payments:read").get(path)).status_code == 200
            assert (await payments.as_service("orders").get(path)).status_code == 200
            assert (await payments.anonymous.get(path)).status_code == 401

    async def test_unknown_payment_is_not_found(self, embedded: RunningService) -> None:
        response = await embedded.as_user("payments:read").get(f"/payments/{PaymentId.new()}")

        assert response.status_code == 404


class TestList:
    async def test_lists_the_callers_payments_newest_first(self, payments: RunningService) -> None:
        ada = UserId.new()
        created = [await charge(payments, user_id=ada) for _ in range(3)]
        await charge(payments)

        mine = await payments.as_user(subject=ada).get("/payments")
        all_of_them = await payments.as_user("payments:read").get("/payments")

        assert mine.json() == created[::-1]
        assert mine.headers["x-total-count"] == "3"
        assert len(all_of_them.json()) == 4

    async def test_next_link_leads_through_all_pages(self, payments: RunningService) -> None:
        created = [(await charge(payments))["payment_id"] for _ in range(5)]
        reader, path, found = payments.as_user("payments:read"), "/payments?limit=2", []

        while path:
            response = await reader.get(path)
            found.extend(each["payment_id"] for each in response.json())
            links = dict(reversed(link.split("; ")) for link in response.headers["link"].split(", "))
            path = links.get('rel="next"', "").strip("<>")

        assert found == created[::-1]

    async def test_filters_by_order(self, payments: RunningService) -> None:
        order_id = OrderId.new()
        created = [await charge(payments, order_id=order_id, key=f"{order_id}/{turn}") for turn in range(2)]
        await charge(payments)

        response = await payments.as_service("orders").get("/payments", params={"order_id": order_id})

        assert response.json() == created[::-1]
        assert (await payments.as_user().get("/payments", params={"order_id": order_id})).json() == []

    async def test_invalid_parameters_are_rejected(self, embedded: RunningService) -> None:
        reader = embedded.as_user("payments:read")

        assert (await reader.get("/payments?order_id=7")).status_code == 422
        assert (await reader.get("/payments?limit=1001")).status_code == 422
        assert (await reader.get("/payments?cursor=x")).json()["code"] == "invalid_cursor"
        assert (await embedded.anonymous.get("/payments")).status_code == 401

    async def test_list_and_read_return_the_same_representation(self, embedded: RunningService) -> None:
        payment = await charge(embedded)

        assert (await embedded.as_service("orders").get("/payments")).json() == [
            await read(embedded, payment["payment_id"])
        ]
