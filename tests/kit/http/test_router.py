from typing import Annotated

import pytest
from tests.examples.loans import service

from portico.kit.auth.access import Access, AnyCaller, PublicRead, SignedIn, permitted
from portico.kit.auth.principal import Principal
from portico.kit.http.context import OnBehalf
from portico.kit.http.router import Router, access_of_endpoint, declared_routes


class TestDeclaredRoutes:
    def test_contain_what_the_gateway_needs(self) -> None:
        routes = {(route.method, route.path): route for route in declared_routes(service.routers, "/api")}

        assert routes["POST", "/api/loans"].access == Access("signed_in")
        assert routes["DELETE", "/api/loans/{loan_id}"].access == Access("service")
        assert routes["POST", "/api/books"].access == Access("permission", "books:write")
        assert routes["GET", "/api/books/greeting"].access == Access("optional")
        assert routes["GET", "/api/books"].access == Access("public")
        assert [key for key, route in routes.items() if route.safe] == [key for key in routes if key[0] == "GET"]

    def test_unprefixed_routes_have_no_prefix(self) -> None:
        router = Router(prefix="/.well-known", prefixed=False)

        @router.get("/keys", rate="sign_in", timeout=2.0, body_limit=10)
        async def keys() -> None: ...

        [route] = declared_routes([router], "/api")

        assert (route.path, route.rate, route.timeout, route.body_limit) == ("/.well-known/keys", "sign_in", 2.0, 10)


class TestAccessOfEndpoint:
    def test_is_the_strictest_of_its_parameters(self) -> None:
        async def ask(
            any_caller: AnyCaller, user: SignedIn, writer: Annotated[Principal, permitted("a:b")]
        ) -> None: ...

        assert access_of_endpoint(ask) == Access("permission", "a:b")

    def test_of_a_public_read_follows_public_reads(self) -> None:
        router = Router(prefix="/books")

        @router.get("")
        async def list_books(caller: PublicRead) -> None: ...

        found = [declared_routes([router], public_reads=each)[0].access for each in (True, False)]

        assert found == [Access("public"), Access("known")]
        assert router.routes[0].with_public_reads(public_reads=False).access == Access("known")

    def test_is_public_without_a_caller(self) -> None:
        async def ask(number: int) -> None: ...

        assert access_of_endpoint(ask) == Access("public")


class TestIdempotencySupport:
    def test_is_for_posts_that_neither_stream_nor_return_secrets(self) -> None:
        router = Router()

        async def act() -> None: ...

        router.post("/a")(act)
        router.post("/b", stores_response=False)(act)
        router.post("/c", streams=True)(act)
        router.put("/d")(act)

        assert [route.path for route in router.routes if route.supports_idempotency_key] == ["/a"]

    def test_an_endpoint_that_calls_other_services_declares_it(self) -> None:
        router = Router()

        async def act(calls: OnBehalf) -> None: ...

        router.post("/a", calls_services=True)(act)
        router.post("/b", stores_response=False)(act)
        router.put("/c")(act)
        with pytest.raises(TypeError, match=r"POST /d: act calls other services.*calls_services=True"):
            router.post("/d")(act)
