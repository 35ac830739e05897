import pytest

from portico.kit.auth.principal import PersonRequired, UserId
from portico.testing.clock import ManualClock
from portico.testing.issuer import Issuer


class TestPrincipal:
    def test_may_do_what_its_permissions_allow(self) -> None:
        caller = Issuer(ManualClock()).claims(permissions=["products:write"]).principal()

        assert caller.may("products:write")
        assert not caller.may("products:read")

    def test_with_the_star_may_do_everything(self) -> None:
        assert Issuer(ManualClock()).claims(permissions=["*"]).principal().may("anything:at-all")

    def test_of_a_user_has_a_user_id(self) -> None:
        user_id = UserId.new()

        assert Issuer(ManualClock()).claims(user_id).principal().user_id == user_id

    def test_of_a_service_has_no_user_id(self) -> None:
        caller = Issuer(ManualClock()).claims("service:catalog").principal()

        assert caller.service == "catalog"
        with pytest.raises(PersonRequired):
            _ = caller.user_id
