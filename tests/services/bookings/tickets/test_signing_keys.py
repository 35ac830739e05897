from structlog.testing import capture_logs
from tests.services.bookings.support import BookingsService, open_bookings
from tests.services.bookings.tickets.support import issue, person

from portico.kit.auth import VerifyingKey
from portico.services.bookings.tickets.domain import TicketCode, key_number_of
from portico.services.bookings.tickets.jobs import rotate_ticket_keys
from portico.services.bookings.tickets.repository import TicketKeyRows
from portico.services.bookings.tickets.signing_keys import LEAD_TIME, MAX_AGE, TicketKeys
from portico.testing.databases import Databases

SECOND = 1


async def code_of(bookings: BookingsService) -> str:
    ada = await person(bookings)
    await issue(bookings, ada.user_id)
    code: str = (await ada.tickets())[0]["code"]
    return code


def keys_of(bookings: BookingsService) -> TicketKeys:
    return bookings.run.context.resource(TicketKeys)


async def test_private_keys_rest_encrypted(bookings: BookingsService) -> None:
    async with bookings.run.context.reader() as reader:
        (row,) = await TicketKeyRows(reader).all()

    assert "d" not in row.public
    assert row.public["x"] not in row.encrypted
    (published,) = await keys_of(bookings).public_keys()
    assert published == {**row.public, "number": 1}


async def test_published_keys_verify_codes_without_the_service(embedded: BookingsService) -> None:
    code = await code_of(embedded)

    keys = {key["number"]: VerifyingKey.from_jwk(key) for key in await keys_of(embedded).public_keys()}

    assert TicketCode.read(code, keys) is not None


async def test_a_key_is_replaced_after_its_age_and_signs_after_the_lead_time(bookings: BookingsService) -> None:
    keys = keys_of(bookings)
    first = await code_of(bookings)
    bookings.run.clock.advance(MAX_AGE.total_seconds() - SECOND)
    await rotate_ticket_keys.function(bookings.run.context)
    assert [key["number"] for key in await keys.public_keys()] == [1]

    bookings.run.clock.advance(SECOND)
    await rotate_ticket_keys.function(bookings.run.context)
    await rotate_ticket_keys.function(bookings.run.context)

    assert [key["number"] for key in await keys.public_keys()] == [1, 2]
    assert key_number_of(await code_of(bookings)) == 1
    bookings.run.clock.advance(LEAD_TIME.total_seconds())
    assert key_number_of(await code_of(bookings)) == 2
    (old,) = await keys.read([first])
    assert old is not None


async def test_a_key_that_another_process_added_is_found_by_its_number(embedded: BookingsService) -> None:
    ours, theirs = keys_of(embedded), TicketKeys(embedded.run.context)
    await theirs.ensure_key()
    embedded.run.clock.advance(MAX_AGE.total_seconds())
    await theirs.rotate_if_due()
    embedded.run.clock.advance(LEAD_TIME.total_seconds())
    serial = "00" * 11
    (text,) = await theirs.sign([(17, serial)])  # type: ignore[list-item]

    (found,) = await ours.read([text])

    assert found is not None
    assert (found.key_number, found.event_id, found.serial) == (2, 17, serial)


async def test_with_another_secret_key_a_new_key_signs_and_old_codes_stay_valid(sqlite_databases: Databases) -> None:
    async with open_bookings(sqlite_databases) as bookings:
        code = await code_of(bookings)

    with capture_logs() as logs:
        async with open_bookings(sqlite_databases) as bookings:  # its SECRET_KEY is another
            new = await code_of(bookings)
            read = await bookings.run.context.resource(TicketKeys).read([code, new])

    assert [None if each is None else each.key_number for each in read] == [1, 2]
    assert [log["number"] for log in logs if log["event"] == "ticket_key_unreadable"] == [1]
