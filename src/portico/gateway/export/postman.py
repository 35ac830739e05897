"""A Postman collection (format v2.1) from the OpenAPI document of a system."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

SCHEMA: Final = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_FORM: Final = "application/x-www-form-urlencoded"
_ACCOUNT: Final = ("email", "password")
_MAX_DEPTH: Final = 8  # of an example; a schema may contain itself

Json = dict[str, Any]


def postman(document: Json, address: str) -> str:
    """Return a collection with all operations of a document, in a folder for each tag.

    Variables hold the gateway's address, the account, the tokens and the ids in paths. The first folder signs in and
    stores the tokens; a request that creates something stores its id.

    Args:
        document: the OpenAPI document.
        address: the gateway's address: `http://127.0.0.1:8000`.
    """
    return orjson.dumps(_Collection(document, address).render(), option=orjson.OPT_INDENT_2).decode() + "\n"


class _Collection:
    def __init__(self, document: Json, address: str) -> None:
        self._document = document
        self._address = address
        self._operations = [
            (
                method,
                path,
                {**operation, "parameters": [*shared.get("parameters", []), *operation.get("parameters", [])]},
            )
            for path, shared in document["paths"].items()
            for method, operation in shared.items()
            if method in _METHODS
        ]
        self._ids = list(
            dict.fromkeys(
                each["name"]
                for _, _, operation in self._operations
                for each in map(self._resolved, operation["parameters"])
                if each["in"] == "path"
            )
        )

    def render(self) -> Json:
        described = {tag["name"]: tag.get("description", "") for tag in self._document.get("tags", [])}
        folders: dict[str, list[Json]] = {name: [] for name in described}
        sign_in: list[Json] = []
        for method, path, operation in self._operations:
            item = self._item(method, path, operation)
            folders.setdefault(next(iter(operation.get("tags", [])), "other"), []).append(item)
            if not sign_in and self._token_in(operation) is not None and "email" in self._body_fields(operation):
                sign_in.append(item)
        info = self._document["info"]
        return {
            "info": {"name": info["title"], "description": info.get("description", ""), "schema": SCHEMA},
            "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{access_token}}", "type": "string"}]},
            "variable": [
                {"key": "base_url", "value": self._address},
                *({"key": name, "value": ""} for name in (*_ACCOUNT, "access_token", *self._ids)),
            ],
            "item": [
                {"name": "Sign in", "description": "Set the variables email and password first.", "item": sign_in},
                *(
                    {"name": name, "description": described.get(name, ""), "item": items}
                    for name, items in folders.items()
                    if items
                ),
            ],
        }

    def _item(self, method: str, path: str, operation: Json) -> Json:
        parameters = [self._resolved(each) for each in operation["parameters"]]
        sent = [each for each in parameters if each["in"] == "query"]
        segments = [f":{each[1:-1]}" if _is_parameter(each) else each for each in path.strip("/").split("/")]
        request: Json = {
            "method": method.upper(),
            "description": operation.get("description", ""),
            "header": [
                {"key": each["name"], "value": "{{$guid}}" if _is_key(each) else "", "disabled": not _is_key(each)}
                for each in parameters
                if each["in"] == "header"
            ],
            "url": {
                "raw": "/".join(["{{base_url}}", *segments]),
                "host": ["{{base_url}}"],
                "path": segments,
                "query": [
                    {
                        "key": each["name"],
                        "value": str(self._example(each.get("schema", {}), each["name"])),
                        "description": each.get("description", ""),
                        "disabled": not each.get("required", False),
                    }
                    for each in sent
                ],
                "variable": [
                    {"key": each["name"], "value": _variable(each["name"])}
                    for each in parameters
                    if each["in"] == "path"
                ],
            },
        }
        if not operation.get("security"):
            request["auth"] = {"type": "noauth"}
        request |= self._body(operation)
        script = list(self._script(operation))
        return {
            "name": operation.get("summary") or f"{method.upper()} {path}",
            "request": request,
            "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": script}}],
            "response": [],
        }

    def _body(self, operation: Json) -> Json:
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            example = self._example(content["application/json"].get("schema", {}), "")
            text = orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()
            return {"body": {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}}
        if _FORM in content:
            fields = self._example(content[_FORM].get("schema", {}), "")
            return {
                "body": {"mode": "urlencoded", "urlencoded": [{"key": k, "value": str(v)} for k, v in fields.items()]}
            }
        return {}

    def _script(self, operation: Json) -> Iterator[str]:
        """Return the script of a request: it tests the status, and stores the token and ids in variables."""
        statuses = [int(status) for status in operation["responses"] if status.isdigit()]
        yield f"pm.test('The status is documented', () => pm.expect({statuses}).to.include(pm.response.code));"
        stored = [(name, name) for name in self._response_fields(operation) if name in self._ids and _is_id(name)]
        token = self._token_in(operation)
        if token is not None:
            stored.append((token, "access_token"))
        if stored and any(status.startswith("2") for status in operation["responses"]):
            yield "if (pm.response.code < 300) {"
            yield "  const body = pm.response.json();"
            for field, variable in stored:
                yield f"  pm.collectionVariables.set('{variable}', body['{field}']);"
            yield "}"

    def _token_in(self, operation: Json) -> str | None:
        fields = self._response_fields(operation)
        return next((name for name in ("access_token", "accessToken") if name in fields), None)

    def _response_fields(self, operation: Json) -> Json:
        for status, response in operation["responses"].items():
            schema = self._resolved(response).get("content", {}).get("application/json", {}).get("schema")
            if status.startswith("2") and schema is not None:
                return self._fields(schema)
        return {}

    def _body_fields(self, operation: Json) -> Json:
        content = operation.get("requestBody", {}).get("content", {})
        return self._fields(content.get("application/json", {}).get("schema", {}))

    def _fields(self, schema: Json) -> Json:
        fields: Json = self._resolved(schema).get("properties", {})
        return fields

    def _resolved(self, value: Json) -> Json:
        """Return the target of a reference, or the value itself."""
        if "$ref" not in value:
            return value
        found: Any = self._document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return self._resolved(found)

    def _example(self, schema: Json, name: str, depth: int = 0) -> Any:
        """Return an example of a schema: its own example, a variable, or the smallest value without optional fields."""
        schema = self._resolved(schema)
        if name in _ACCOUNT or (name in self._ids and _is_id(name)):
            return _variable(name)
        for keyword in ("example", "default", "const"):
            if schema.get(keyword) is not None:
                return schema[keyword]
        for keyword in ("examples", "enum"):
            if schema.get(keyword):
                return schema[keyword][0]
        for keyword in ("anyOf", "oneOf", "allOf"):
            if schema.get(keyword):
                return self._example(schema[keyword][0], name, depth)
        return self._smallest(schema, depth)

    def _smallest(self, schema: Json, depth: int) -> Any:
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            fields = schema.get("properties", {}) if depth < _MAX_DEPTH else {}
            wanted = [name for name in fields if name in schema.get("required", ()) or name in _ACCOUNT]
            return {name: self._example(fields[name], name, depth + 1) for name in wanted}
        if kind == "array":
            count = schema.get("minItems", 0) if depth < _MAX_DEPTH else 0
            return [self._example(schema.get("items", {}), "", depth + 1)] * count
        if kind in {"integer", "number"}:
            return schema.get(
                "minimum", 1 if schema.get("exclusiveMinimum", -1) < 1 else schema["exclusiveMinimum"] + 1
            )
        if kind == "boolean":
            return True
        return "string".ljust(schema.get("minLength", 0), "-")[: schema.get("maxLength", 6)]


def _variable(name: str) -> str:
    """Return the reference to a variable of the collection."""
    return "{{" + name + "}}"


def _is_parameter(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}")


def _is_id(name: str) -> bool:
    """Return whether a parameter identifies something that requests create."""
    return name.endswith(("_id", "Id"))


def _is_key(parameter: Json) -> bool:
    return str(parameter["name"]).lower() == "idempotency-key"
