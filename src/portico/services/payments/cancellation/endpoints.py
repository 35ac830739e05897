from portico.kit.auth import FromService
from portico.kit.http import Router
from portico.kit.runtime.context import Context
from portico.services.payments.cancellation import commands
from portico.services.payments.cancellation.schemas import VoidRead
from portico.services.payments.payments.errors import ChargeInFlight, VoidUnfinished
from portico.services.payments.payments.schemas import Key

router = Router(prefix="/payments/voids", tags=["voids"])


@router.put("/{key:path}", errors=[ChargeInFlight, VoidUnfinished])
async def void(key: Key, caller: FromService, context: Context) -> VoidRead:
    """See to it that nothing is or stays charged by this key, whether or not it was used yet.

    A charge that comes later is refused; one whose outcome is open is asked after; one that was made is given back.
    """
    return VoidRead.of_void(await commands.void(context, key))
