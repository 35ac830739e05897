"""The gateway of a small system, with its service in this process or over HTTP."""

from collections.abc import AsyncIterator
from typing import Literal

import aiohttp
import pytest
from structlog.testing import capture_logs
from tests.gateway.proxy.gateways import KnownTokens
from tests.gateway.proxy.scripted_service import Service as App
from tests.gateway.proxy.scripted_service import ServiceRequest
from tests.gateway.proxy.servers import served

from portico.gateway import Gateway, policy_of
from portico.gateway.limits import Limiter, MemoryLimiter
from portico.kit.foundation.clock import Clock
from portico.kit.http.router import Router
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.settings import Settings

router = Router(prefix="/loans", tags=["loans"])
unprefixed = Router(prefixed=False)


@router.get("/{loan_id}")
async def read_loan(loan_id: str) -> dict[str, str]:
    return {"loan_id": loan_id}


@router.post("/sign-in", rate="sign_in")
async def sign_in() -> None:
    return None


@unprefixed.get("/.well-known/keys")
async def keys() -> dict[str, str]:
    return {}


LOANS = Service(name="loans", summary="Who has which book", module=__name__, routers=[router, unprefixed])


def a_system(case: Literal["snake", "camel"] = "snake", prefix: str = "") -> System:
    return System("library", "Readers and books", gateway=8000, services={LOANS: 8001}, case=case, prefix=prefix)


async def ready(request: ServiceRequest) -> None:
    await request.answer(200, b"{}")


@pytest.fixture
def app() -> App:
    app = App()
    app.on("/health/ready", ready)
    return app


@pytest.fixture(params=["local", "socket"])
async def client(request: pytest.FixtureRequest, app: App) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(app) as address:
        local = request.param == "local"
        apps, addresses = ({"loans": app}, {}) if local else ({}, {"loans": f"http://{address}"})
        async with (
            Gateway(a_system(), Settings(), verifier=KnownTokens(), apps=apps, addresses=addresses) as gateway,
            served(gateway) as at,
            aiohttp.ClientSession(f"http://{at}") as client,
        ):
            yield client


class TestGateway:
    async def test_routes_come_from_the_declarations_of_services(self, client: aiohttp.ClientSession) -> None:
        found = await client.get("/loans/loan_1")
        known = await client.get("/.well-known/keys")
        lost = await client.get("/loans")

        assert (found.status, known.status, lost.status) == (200, 200, 404)
        assert (await found.json())["path"] == "/loans/loan_1"

    async def test_health_names_each_service(self, client: aiohttp.ClientSession) -> None:
        answer = await client.get("/health")
        health = await answer.json()

        assert answer.status == 200
        assert (health["status"], health["service"], health["services"]) == ("healthy", "gateway", {"loans": True})
        assert health["version"]

    async def test_a_service_that_is_down_degrades_the_system_and_not_the_gateway(
        self, client: aiohttp.ClientSession, app: App
    ) -> None:
        async def unready(request: ServiceRequest) -> None:
            await request.answer(503, b"{}")

        app.on("/health/ready", unready)
        health, is_ready = await client.get("/health"), await client.get("/health/ready")

        assert health.status == 503
        assert (await health.json())["services"] == {"loans": False}
        assert (await health.json())["status"] == "degraded"
        assert is_ready.status == 200

    async def test_detailed_health_and_metrics(self, client: aiohttp.ClientSession) -> None:
        await client.get("/loans/loan_1")
        detailed = await (await client.get("/health/detailed")).json()
        metrics = await (await client.get("/metrics")).text()

        assert detailed["dependencies"]["loans"]["status"] == "up"
        assert 'route="/loans/{loan_id}",status="200"} 1.0' in metrics

    async def test_detailed_health_and_metrics_are_not_for_everyone(self, app: App) -> None:
        settings = Settings(operator_networks="192.0.2.0/24")
        async with (
            Gateway(a_system(), settings, verifier=KnownTokens(), apps={"loans": app}, addresses={}) as gateway,
            served(gateway) as at,
            aiohttp.ClientSession(f"http://{at}") as stranger,
        ):
            answers = [await stranger.get(path) for path in ("/metrics", "/health/detailed", "/health/ready")]

        assert [answer.status for answer in answers] == [401, 401, 200]
        assert answers[0].headers["WWW-Authenticate"] == "Bearer"

    async def test_rates_from_the_settings_apply(self, client: aiohttp.ClientSession) -> None:
        answers = [await client.post("/loans/sign-in") for _ in range(11)]

        assert [answer.status for answer in answers] == [200] * 10 + [429]
        assert answers[0].headers["RateLimit-Policy"] == '"sign_in";q=10;w=60'

    async def test_the_start_page_links_to_the_others(self, client: aiohttp.ClientSession) -> None:
        page = await client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
        links = await (await client.get("/", headers={"Accept": "application/json"})).json()
        text = await page.text()

        assert page.status == 200
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" not in text
        assert links["name"] == "library"
        for path in ("/docs", "/redoc", "/openapi.json", "/health"):
            assert f'href="{path}"' in text
            assert path in links.values()

    async def test_the_documentation_pages_are_served(self, client: aiohttp.ClientSession) -> None:
        page = await client.get("/docs")
        script = await client.get("/docs/swagger-ui-bundle.js")
        document = await client.get("/openapi.json")

        assert (page.status, script.status, document.status) == (200, 200, 200)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert len(await script.read()) > 1_000_000
        assert (await document.json())["info"]["title"] == "library"


class TestPolicyOf:
    def test_a_prefix_applies_to_resources_only(self) -> None:
        table = policy_of(a_system(prefix="/api"), Settings()).table

        assert {route.path for route in table.routes} == {
            "/api/loans/{loan_id}",
            "/api/loans/sign-in",
            "/.well-known/keys",
        }


class TestStopping:
    async def test_a_stopping_gateway_is_not_ready(self, app: App) -> None:
        async with (
            Gateway(a_system(), Settings(), verifier=KnownTokens(), apps={"loans": app}, addresses={}) as gateway,
            served(gateway) as at,
            aiohttp.ClientSession(f"http://{at}") as client,
        ):
            gateway.stop()
            answer = await client.get("/health/ready")

        assert answer.status == 503


class SlowLimiter(MemoryLimiter):
    """Rate limits whose server does not respond when the connection is closed."""

    async def aclose(self) -> None:
        raise TimeoutError


class GatewayWithSlowLimiter(Gateway):
    def _limiter(self) -> Limiter:
        return SlowLimiter(Clock())


class TestShutdown:
    async def test_is_not_ended_by_rate_limits_that_fail_to_close(self, app: App) -> None:
        with capture_logs() as lines:
            async with GatewayWithSlowLimiter(
                a_system(), Settings(), verifier=KnownTokens(), apps={"loans": app}, addresses={}
            ):
                pass

        assert [line["resource"] for line in lines if line["event"] == "resource_not_closed"] == ["SlowLimiter.aclose"]
