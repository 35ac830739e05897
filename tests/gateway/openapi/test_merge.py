from typing import Any

from portico.gateway.openapi import merge_documents
from portico.gateway.openapi.document import add_oauth_flows
from portico.kit.http.documents import SUPPLEMENTARY

INFO = {"title": "shop", "version": "1"}


def everything(*_: str) -> bool:
    return True


def a_document(
    path: str, schemas: dict[str, Any], *, refers: str = "Item", operation_id: str = "read"
) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{refers}"}
    content = {"application/json": {"schema": reference}}
    operation = {"operationId": operation_id, "responses": {"200": {"description": "ok", "content": content}}}
    return {"openapi": "3.1.0", "paths": {path: {"get": operation}}, "components": {"schemas": schemas}}


def referred(merged: dict[str, Any], path: str) -> str:
    content = merged["paths"][path]["get"]["responses"]["200"]["content"]
    return str(content["application/json"]["schema"]["$ref"]).rsplit("/", 1)[-1]


class TestMerge:
    def test_paths_of_all_services_come_together(self) -> None:
        merged = merge_documents(
            INFO, {"a": a_document("/b", {"Item": {}}), "b": a_document("/a", {"Item": {}})}, everything
        )

        assert list(merged["paths"]) == ["/a", "/b"]
        assert merged["info"] == INFO

    def test_a_shape_that_two_share_is_there_once(self) -> None:
        shape = {"Item": {"type": "object"}}
        merged = merge_documents(INFO, {"a": a_document("/a", shape), "b": a_document("/b", dict(shape))}, everything)

        assert merged["components"]["schemas"] == shape

    def test_two_shapes_of_one_name_are_told_apart(self) -> None:
        one, other = {"type": "object"}, {"type": "string"}
        documents = {"a": a_document("/a", {"Item": one}), "order_book": a_document("/b", {"Item": other})}
        merged = merge_documents(INFO, documents, everything)

        assert merged["components"]["schemas"] == {"Item": one, "OrderBookItem": other}
        assert (referred(merged, "/a"), referred(merged, "/b")) == ("Item", "OrderBookItem")

    def test_the_title_of_a_renamed_schema_is_its_new_name(self) -> None:
        one, other = {"title": "Item", "type": "object"}, {"title": "Item", "type": "string"}
        documents = {"a": a_document("/a", {"Item": one}), "b": a_document("/b", {"Item": other})}
        schemas = merge_documents(INFO, documents, everything)["components"]["schemas"]

        assert {name: schema["title"] for name, schema in schemas.items()} == {"Item": "Item", "BItem": "BItem"}

    def test_so_are_those_that_only_refer_to_different_things(self) -> None:
        outer = {"items": {"$ref": "#/components/schemas/Item"}}
        documents = {
            "a": a_document("/a", {"Item": {"type": "object"}, "Outer": outer}, refers="Outer"),
            "b": a_document("/b", {"Item": {"type": "string"}, "Outer": dict(outer)}, refers="Outer"),
        }
        schemas = merge_documents(INFO, documents, everything)["components"]["schemas"]

        assert schemas["Outer"] == outer
        assert schemas["BOuter"] == {"items": {"$ref": "#/components/schemas/BItem"}}
        assert schemas["BItem"] == {"type": "string"}

    def test_what_is_not_routed_is_left_out_with_its_shapes(self) -> None:
        documents = {"a": a_document("/open", {"Item": {}}), "b": a_document("/inner", {"Secret": {}}, refers="Secret")}
        merged = merge_documents(INFO, documents, lambda service, method, path: (method, path) == ("GET", "/open"))

        assert list(merged["paths"]) == ["/open"]
        assert list(merged["components"]["schemas"]) == ["Item"]

    def test_operation_ids_stay_unique(self) -> None:
        merged = merge_documents(INFO, {"a": a_document("/a", {}), "b": a_document("/b", {})}, everything)

        assert [merged["paths"][path]["get"]["operationId"] for path in ("/a", "/b")] == ["read", "b_read"]

    def test_supplementary_tags_and_their_paths_come_last(self) -> None:
        first, second = a_document("/a", {}), a_document("/z", {})
        first["paths"]["/a"]["get"]["tags"], second["paths"]["/z"]["get"]["tags"] = ["keys"], ["items"]
        first["tags"] = [{"name": "keys", SUPPLEMENTARY: True}, {"name": "unused"}]
        second["tags"] = [{"name": "items", "description": "Things"}]
        merged = merge_documents(INFO, {"a": first, "b": second}, everything)

        assert list(merged["paths"]) == ["/z", "/a"]
        assert [tag["name"] for tag in merged["tags"]] == ["items", "keys"]

    def test_security_schemes_stay(self) -> None:
        document = a_document("/a", {"Item": {}})
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}

        assert merge_documents(INFO, {"a": document}, everything)["components"]["securitySchemes"] == {
            "bearer": {"type": "http", "scheme": "bearer"}
        }

    def test_shapes_that_refer_to_themselves_end(self) -> None:
        tree = {"children": {"$ref": "#/components/schemas/Item"}}
        merged = merge_documents(INFO, {"a": a_document("/a", {"Item": tree})}, everything)

        assert merged["components"]["schemas"] == {"Item": tree}


def test_operations_with_a_token_offer_the_oauth_flows() -> None:
    paths = {
        "/me": {"get": {"security": [{"bearer": []}]}},
        "/feed": {"get": {"security": [{"bearer": []}, {}]}},
        "/open": {"get": {}, "parameters": []},
    }
    document = {"paths": paths, "components": {"securitySchemes": {"bearer": {}}}}

    add_oauth_flows(document, "/api/oauth/token")

    flows = document["components"]["securitySchemes"]["oauth2"]["flows"]
    assert flows["password"]["tokenUrl"] == flows["authorizationCode"]["tokenUrl"] == "/api/oauth/token"
    assert flows["authorizationCode"]["authorizationUrl"] == "/api/oauth/authorize"
    assert paths["/me"]["get"]["security"] == [{"bearer": []}, {"oauth2": []}]
    assert paths["/feed"]["get"]["security"] == [{"bearer": []}, {"oauth2": []}, {}]
    assert paths["/open"]["get"] == {}
