from tests.gateway.requests import a_head

from portico.gateway.decisions import MatchedRequest
from portico.gateway.limits import Rate
from portico.gateway.system_policy import policy_of
from portico.kit.settings import Settings
from portico.kit.settings.values import Rate as RateSetting
from portico.services.seating import service
from portico.testing.running_service import system_of


def test_holds_have_a_rate_of_their_own_at_the_gateway() -> None:
    policy = policy_of(system_of(service), Settings(rate_limit_holds=RateSetting(5, 60)))

    taking = policy.match(a_head("POST", b"/inventory/1/holds"))
    reading = policy.match(a_head("GET", b"/inventory/1/holds"))

    assert isinstance(taking, MatchedRequest)
    assert isinstance(reading, MatchedRequest)
    assert taking.rate == Rate("holds", 5, 60)
    assert reading.rate.name == "default"
