"""Many settled charges: they cost nothing when the simulated provider looks for due work."""

from sqlalchemy import insert, text
from tests.services.payments.conftest import ORDERS, VARIABLES
from tests.support.query_plans import QueryPlans

from portico.services.payments import service
from portico.services.payments.simulated_provider.models import ChargeId, SimulatedCharge
from portico.services.payments.simulated_provider.repository import NEXT_WORK, has_due_work, keys_to_settle
from portico.testing.databases import Databases
from portico.testing.running_service import run_service, system_of

SETTLED = 3000


async def test_only_due_charges_are_read(postgresql_databases: Databases) -> None:
    system = system_of(service, ORDERS)
    async with run_service(
        service, postgresql_databases, system=system, background=False, variables=VARIABLES
    ) as payments:
        now = payments.clock.now()
        charge = {
            "reference": "ord_1",
            "amount_minor": 100,
            "currency": "EUR",
            "method": "pm_ok",
            "status": "succeeded",
            "refunded_minor": 0,
            "requests": 1,
            "created_at": now,
        }
        async with payments.context.transaction() as work:
            rows = [{**charge, "key": f"key_{number}", "charge_id": ChargeId.new()} for number in range(SETTLED)]
            await work.execute(insert(SimulatedCharge), rows)
        async with payments.context.database.writer.connect() as connection:
            await connection.execute(text("ANALYZE"))
        plans = QueryPlans(payments.context.database)

        async with payments.context.database.reader.connect() as connection:
            await connection.execute(NEXT_WORK.source)
        assert await plans.max_rows_read("simulated_charges") == 0

        async with payments.context.reader() as reader:
            assert not await has_due_work(reader, now)
            assert await keys_to_settle(reader, now, 10) == []
        assert await plans.max_rows_read("simulated_charges") == 0
