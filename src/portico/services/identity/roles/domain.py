from collections.abc import Iterable

from portico.services.identity.roles.models import Role


def permissions_of(roles: Iterable[Role]) -> list[str]:
    """All permissions that these roles give, in order."""
    return sorted({permission for role in roles for permission in role.permissions})
