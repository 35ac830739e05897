from portico.kit import Conflict, Unprocessable


class RoleTaken(Conflict):
    code = "role_taken"
    detail = "There is a role '{name}' already."

    name: str


class RoleUnknown(Unprocessable):
    code = "role_unknown"
    detail = "There is no role '{name}'."
    location = ("body", "roles")

    name: str
