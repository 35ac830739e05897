"""The proxy contract for services in this process and for services over HTTP, on both planes."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from tests.gateway.proxy.contract import ProxyContract
from tests.gateway.proxy.gateways import Gateway, gateway_for_app


class TestLocalUpstream(ProxyContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_for_app, "local")


class TestHttpUpstream(ProxyContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_for_app, "socket")


class TestLocalUpstreamOnTheFastPlane(ProxyContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_for_app, "local", plane="fast")


class TestHttpUpstreamOnTheFastPlane(ProxyContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_for_app, "socket", plane="fast")
