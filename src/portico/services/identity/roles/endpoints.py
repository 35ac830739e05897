from typing import Annotated

from portico.kit import Page, Principal, Reads, RequestClient, Router, Work, permitted
from portico.services.identity.roles import commands
from portico.services.identity.roles.errors import RoleTaken
from portico.services.identity.roles.repository import Roles
from portico.services.identity.roles.schemas import RoleCreate, RoleRead
from portico.services.identity.users.errors import BeyondOwnRights

router = Router(prefix="/roles", tags=["roles"])


@router.get("")
async def list_roles(
    _caller: Annotated[Principal, permitted("roles:read")], reads: Reads, page: Page
) -> list[RoleRead]:
    """The roles there are, by name."""
    return page.of(RoleRead, await Roles(reads).page(page.window))


@router.post("", status_code=201, errors=[RoleTaken, BeyondOwnRights])
async def create_role(
    draft: RoleCreate, caller: Annotated[Principal, permitted("roles:write")], work: Work, device: RequestClient
) -> RoleRead:
    """Name a set of permissions. Nobody can grant what they do not hold."""
    return RoleRead.of(await commands.create_role(work, draft.name, draft.permissions, caller=caller, device=device))
