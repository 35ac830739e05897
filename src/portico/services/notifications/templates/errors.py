from portico.kit.foundation.problems import NotFound, Unprocessable


class TemplateNotFound(NotFound):
    code = "template_not_found"
    detail = "There is no template '{name}'. There are {known}."

    name: str
    known: str


class VersionNotFound(NotFound):
    code = "template_version_not_found"
    detail = "The template '{name}' has no version {version}; its newest is {newest}."

    name: str
    version: int
    newest: int


class TemplateDataInvalid(Unprocessable):
    code = "template_data_invalid"
    detail = "The template '{name}' can't be filled in with this: {reason}."
    location = ("body", "data")

    name: str
    reason: str
