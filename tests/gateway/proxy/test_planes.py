"""The same behaviour for a service in this process and for one behind a socket."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from tests.gateway.proxy.contract import PlaneContract
from tests.gateway.proxy.running import Gateway, gateway_to


class TestInOneProcess(PlaneContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_to, "local")


class TestBySocket(PlaneContract):
    @pytest.fixture
    def start(self) -> Callable[..., AbstractAsyncContextManager[Gateway]]:
        return partial(gateway_to, "socket")
