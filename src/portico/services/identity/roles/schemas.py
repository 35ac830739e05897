from typing import Annotated

from pydantic import Field, StringConstraints

from portico.kit import Schema

RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Permission = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_-]{0,63}:[a-z][a-z0-9_-]{0,63})$")]


class RoleCreate(Schema):
    name: RoleName
    permissions: Annotated[list[Permission], Field(max_length=50)]


class RoleRead(Schema):
    name: str
    permissions: list[str]
