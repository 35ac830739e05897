import asyncio

from tests.services.identity.accounts import Identity, Person

from portico.testing.running_service import Answer


async def ticket_of(person: Person) -> str:
    answer = await person.post("/auth/tickets")
    assert (answer.status_code, answer.json()["expires_in"]) == (201, 30)
    ticket: str = answer.json()["ticket"]
    return ticket


async def redeem(identity: Identity, ticket: str) -> Answer:
    return await (await identity.as_service()).post("/auth/tickets/redeem", json={"ticket": ticket})


class TestTicket:
    async def test_is_exchanged_for_a_token_of_the_caller(self, identity: Identity) -> None:
        ada = await identity.new_person()
        identity.advance(600)

        given = (await redeem(identity, await ticket_of(ada))).json()

        assert given["expires_in"] == 3000  # not longer than the token that the ticket was requested with
        assert (await identity.person(given).get("/auth/me")).json()["user_id"] == ada.user_id

    async def test_works_once(self, identity: Identity) -> None:
        ticket = await ticket_of(await identity.new_person())

        answers = await asyncio.gather(*(redeem(identity, ticket) for _ in range(4)))

        assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]

    async def test_works_for_thirty_seconds(self, embedded: Identity) -> None:
        ticket = await ticket_of(await embedded.new_person())

        embedded.advance(30)

        assert (await redeem(embedded, ticket)).json()["code"] == "ticket_not_found"

    async def test_is_invalid_after_its_session_ended(self, embedded: Identity) -> None:
        ada = await embedded.new_person()
        ticket = await ticket_of(ada)

        await ada.post("/auth/logout")

        assert (await redeem(embedded, ticket)).status_code == 404

    async def test_is_redeemed_by_services_only(self, embedded: Identity) -> None:
        ada = await embedded.new_person()
        ticket = await ticket_of(ada)

        assert (await ada.post("/auth/tickets/redeem", json={"ticket": ticket})).status_code == 403
        assert (await redeem(embedded, ticket)).status_code == 200

    async def test_requires_a_token(self, embedded: Identity) -> None:
        assert (await embedded.anonymous.post("/auth/tickets")).status_code == 401
