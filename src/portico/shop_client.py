"""Client of the commerce system, through its gateway. The drill, the demo, benchmarks and tests use it."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Self

from portico.gateway_client import GatewayClient

PAYMENT_METHODS: Final = (
    "pm_ok",
    "pm_declined",
    "pm_insufficient_funds",
    "pm_slow",
    "pm_timeout_then_charged",
    "pm_error_then_ok",
    "pm_duplicate_webhook",
)
"""Every payment method of the simulated provider."""
ADDRESS: Final = {"street": "1 Quay Street", "city": "Porto", "state": "PT-13", "zip": "4050-001", "country": "PT"}


@dataclass(frozen=True)
class ShopClient(GatewayClient):
    """A client of the gateway of commerce."""

    async def register(self, email: str, password: str, name: str | None = None) -> Self:
        """Create an account, and return a client that is signed in as it. Raises ExpectationFailed."""
        account = {"email": email, "password": password} | ({} if name is None else {"name": name})
        response = await self.request_until_final("POST", "/register", account, key=secrets.token_hex(8))
        response.expect(HTTPStatus.CREATED, email=email)
        return await self.sign_in(email, password)

    async def sign_in(self, email: str, password: str) -> Self:
        """Return a client that is signed in. Raises ExpectationFailed."""
        response = await self.request_until_final("POST", "/login", {"email": email, "password": password})
        session = response.expect(HTTPStatus.OK).json()
        return replace(self, token=session["access_token"], user_id=session["user"]["user_id"])

    async def create_product(self, product: Mapping[str, Any], *, key: str = "") -> str:
        """Create a product; return its id. Raises ExpectationFailed."""
        key = key or secrets.token_hex(8)
        response = await self.request_until_final("POST", "/products", product, key=key)
        return str(response.expect(HTTPStatus.CREATED).json()["product_id"])

    async def place_order(self, draft: Mapping[str, Any], *, key: str = "") -> str:
        """Place an order; return its id. Raises ExpectationFailed."""
        key = key or secrets.token_hex(8)
        response = await self.request_until_final("POST", "/orders", draft, key=key)
        return str(response.expect(HTTPStatus.CREATED, status="pending").json()["order_id"])

    async def follow_order(self, order_id: str, statuses: Collection[str]) -> dict[str, Any]:
        """Follow an order by WebSocket until it has one of `statuses`. Raises NoResponse and TimeoutError."""
        return await self.follow(f"/orders/{order_id}/live", lambda message: message["status"] in statuses)


def order_draft(*items: Mapping[str, Any], payment_method: str = "pm_ok", **others: Any) -> dict[str, Any]:
    """Return the body of `POST /orders` for these items."""
    return {
        "items": items,
        "shipping_address": ADDRESS,
        "billing_address": ADDRESS,
        "payment_method": payment_method,
        **others,
    }


def order_item(product_id: str, quantity: int = 1, price: float | None = None) -> dict[str, Any]:
    """Return an item of an order; `price` is the price that the customer has seen, if any."""
    item = {"product_id": product_id, "quantity": quantity}
    return item if price is None else {**item, "price": price}


def kept_amount(payment: Mapping[str, Any]) -> float:
    """Return what is kept of a payment after refunds."""
    return round(payment["amount"] - payment["refunded"], 4) if payment["status"] == "succeeded" else 0.0
