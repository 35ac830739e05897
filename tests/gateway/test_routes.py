import pytest

from portico.gateway.routes import WEBSOCKET, Route, RouteTable, routes_of
from portico.kit.auth.access import Access
from portico.kit.http.router import RouteDeclaration


def a_table(*lines: str) -> RouteTable:
    return RouteTable([Route("s", *line.split(" ", 1)) for line in lines])


def found(table: RouteTable, method: str, path: str) -> object:
    route = table.find(method, path)
    return route.path if isinstance(route, Route) else route


class TestFind:
    def test_a_literal_segment_takes_precedence(self) -> None:
        table = a_table("GET /users/{user_id}", "GET /users/me", "GET /users/{user_id}/roles", "GET /users/me/teams")

        assert found(table, "GET", "/users/me") == "/users/me"
        assert found(table, "GET", "/users/7") == "/users/{user_id}"
        assert found(table, "GET", "/users/me/roles") == "/users/{user_id}/roles"

    def test_a_template_serves_methods_that_the_literal_lacks(self) -> None:
        table = a_table("GET /users/me", "DELETE /users/{user_id}")

        assert found(table, "DELETE", "/users/me") == "/users/{user_id}"
        assert found(table, "PUT", "/users/me") == ("DELETE", "GET", "HEAD")

    def test_a_parameter_matches_one_nonempty_segment(self) -> None:
        table = a_table("GET /users/{user_id}")

        assert found(table, "GET", "/users/") == ()
        assert found(table, "GET", "/users/a/b") == ()
        assert found(table, "GET", "/users") == ()

    def test_a_path_parameter_matches_the_rest(self) -> None:
        table = a_table("GET /files/{path:path}", "GET /files/about")

        assert found(table, "GET", "/files/a/b/c") == "/files/{path:path}"
        assert found(table, "GET", "/files/about") == "/files/about"

    def test_a_segment_with_more_than_a_parameter(self) -> None:
        table = a_table("GET /export/{name}.csv", "GET /export/{name}")

        assert found(table, "GET", "/export/all.csv") == "/export/{name}.csv"
        assert found(table, "GET", "/export/all.txt") == "/export/{name}"

    def test_a_trailing_slash_is_another_path(self) -> None:
        assert found(a_table("GET /products"), "GET", "/products/") == ()

    def test_a_websocket_route_does_not_match_get(self) -> None:
        assert found(a_table(f"{WEBSOCKET} /ws"), "GET", "/ws") == ()

    def test_conflicting_routes_are_refused(self) -> None:
        routes = [Route("a", "GET", "/x/{one}"), Route("b", "GET", "/x/{two}")]

        with pytest.raises(ValueError, match="conflicts with"):
            RouteTable(routes)

    def test_routes_for_services_only_do_not_conflict(self) -> None:
        hidden = [Route(service, "GET", "/totals", Access("service")) for service in "ab"]
        shown = Route("c", "GET", "/totals")

        assert RouteTable(hidden).find("GET", "/totals") == ()
        assert RouteTable([*hidden, shown]).find("GET", "/totals") == shown
        assert RouteTable([shown, *hidden]).find("GET", "/totals") == shown

    def test_a_route_for_services_only_is_not_found_and_hides_overlapping_routes(self) -> None:
        hidden = Route("orders", "GET", "/orders/totals", Access("service"))
        table = RouteTable([hidden, *(Route("orders", method, "/orders/{order_id}") for method in ("GET", "DELETE"))])

        assert found(table, "GET", "/orders/totals") == ("DELETE",)
        assert found(table, "HEAD", "/orders/totals") == ("DELETE",)
        assert table.methods("/orders/totals") == ("DELETE",)
        assert found(table, "GET", "/orders/7") == "/orders/{order_id}"
        assert hidden not in table.routes


class TestDeclarations:
    def test_each_declaration_becomes_a_route(self) -> None:
        declared = {
            "auth": [
                RouteDeclaration("GET", "/auth/me", Access("signed_in"), None, None, None),
                RouteDeclaration("GET", "/auth/revocations", Access("service"), None, None, None),
                RouteDeclaration("POST", "/login", Access("public"), "sign_in", 20.0, 4096),
            ]
        }

        assert routes_of(declared) == [
            Route("auth", "GET", "/auth/me", Access("signed_in")),
            Route("auth", "GET", "/auth/revocations", Access("service")),
            Route("auth", "POST", "/login", rate="sign_in", timeout=20.0, body_limit=4096),
        ]
