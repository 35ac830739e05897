import pytest

pytest.register_assert_rewrite("tests.gateway.proxy.contract", "tests.gateway.limits.contract")
