"""The same behaviour for a service in this process and for one behind a socket."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from tests.gateway.proxy.contract import ProxyContract
from tests.gateway.proxy.gateways import Gateway, gateway_for_app


class TestInOneProcess(ProxyContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_for_app, "local")


class TestBySocket(ProxyContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_for_app, "socket")
