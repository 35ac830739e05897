from tests.services.payments.support import charge, read

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.testing.running_service import RunningService


class TestRead:
    async def test_a_payment_is_shown_to_who_paid(self, payments: RunningService) -> None:
        ada = UserId.new()
        made = await charge(payments, user_id=ada)

        answer = await payments.as_user(subject=ada).get(f"/payments/{made['payment_id']}")

        assert answer.json() == made
        assert answer.headers["etag"]

    async def test_somebody_elses_is_not_there(self, payments: RunningService) -> None:
        made = await charge(payments)

        for path in (f"/payments/{made['payment_id']}", f"/payments/{made['payment_id']}/refunds"):
            answer = await payments.as_user().get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")
            assert (await payments.as_user("payments:read").get(path)).status_code == 200
            assert (await payments.as_service("orders").get(path)).status_code == 200
            assert (await payments.anonymous.get(path)).status_code == 401

    async def test_what_there_is_not_is_not_found(self, embedded: RunningService) -> None:
        answer = await embedded.as_user("payments:read").get(f"/payments/{PaymentId.new()}")

        assert answer.status_code == 404


class TestList:
    async def test_shows_ones_own_the_newest_first(self, payments: RunningService) -> None:
        ada = UserId.new()
        made = [await charge(payments, user_id=ada) for _ in range(3)]
        await charge(payments)

        mine = await payments.as_user(subject=ada).get("/payments")
        all_of_them = await payments.as_user("payments:read").get("/payments")

        assert mine.json() == made[::-1]
        assert mine.headers["x-total-count"] == "3"
        assert len(all_of_them.json()) == 4

    async def test_goes_on_page_by_page(self, payments: RunningService) -> None:
        made = [(await charge(payments))["payment_id"] for _ in range(5)]
        reader, path, found = payments.as_user("payments:read"), "/payments?limit=2", []

        while path:
            answer = await reader.get(path)
            found.extend(each["payment_id"] for each in answer.json())
            links = dict(reversed(link.split("; ")) for link in answer.headers["link"].split(", "))
            path = links.get('rel="next"', "").strip("<>")

        assert found == made[::-1]

    async def test_of_an_order(self, payments: RunningService) -> None:
        order_id = OrderId.new()
        made = [await charge(payments, order_id=order_id, key=f"{order_id}/{turn}") for turn in range(2)]
        await charge(payments)

        answer = await payments.as_service("orders").get("/payments", params={"order_id": order_id})

        assert answer.json() == made[::-1]
        assert (await payments.as_user().get("/payments", params={"order_id": order_id})).json() == []

    async def test_tells_who_asks_wrongly(self, embedded: RunningService) -> None:
        reader = embedded.as_user("payments:read")

        assert (await reader.get("/payments?order_id=7")).status_code == 422
        assert (await reader.get("/payments?limit=1001")).status_code == 422
        assert (await reader.get("/payments?cursor=x")).json()["code"] == "invalid_cursor"
        assert (await embedded.anonymous.get("/payments")).status_code == 401

    async def test_tells_what_a_read_tells(self, embedded: RunningService) -> None:
        made = await charge(embedded)

        assert (await embedded.as_service("orders").get("/payments")).json() == [
            await read(embedded, made["payment_id"])
        ]
