from portico.kit import Conflict, Unprocessable


class RoleTaken(Conflict):
    detail = "There is a role '{name}' already."

    name: str


class RoleUnknown(Unprocessable):
    detail = "There is no role '{name}'."
    location = ("body", "roles")

    name: str
