import pytest

pytest.register_assert_rewrite("tests.gateway.plane.contract", "tests.gateway.limits.contract")
