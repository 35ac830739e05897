import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.requests import DEFAULT, NOW, ROUTES, SIGN_IN, a_head, a_policy, a_principal, known

from portico.gateway.client_address import ClientNetworks, TrustedProxies
from portico.gateway.cors import Cors
from portico.gateway.decisions import (
    ANONYMOUS,
    Caller,
    Forward,
    MatchedRequest,
    OwnPage,
    PolicyInputs,
    Preflight,
    Refuse,
    Upgrade,
)
from portico.gateway.limits import Verdict
from portico.gateway.policy import OperatorPages, Policy
from portico.gateway.request_head import Header
from portico.gateway.routes import WEBSOCKET, Route, RouteTable
from portico.kit.auth.access import Access

TOKEN = (b"authorization", b"Bearer abc")
ORIGIN = "http://localhost:3000"


def refused(decision: object) -> tuple[int, str]:
    assert isinstance(decision, Refuse), decision
    return decision.problem.status, decision.problem.code


class TestRouting:
    def test_a_public_route_is_forwarded_to_its_service(self) -> None:
        decision = a_policy().decide(a_head(), NOW)

        assert isinstance(decision, Forward)
        assert decision.route.service == "catalog"
        assert decision.is_repeatable

    def test_an_unknown_path_is_not_found(self) -> None:
        assert refused(a_policy().decide(a_head(path=b"/nowhere"), NOW)) == (404, "not_found")

    def test_a_wrong_method_names_the_right_ones(self) -> None:
        decision = a_policy().decide(a_head("PATCH"), NOW)

        assert refused(decision) == (405, "method_not_allowed")
        assert decision.problem.headers == {"allow": "GET, HEAD, POST"}

    def test_head_is_served_by_get(self) -> None:
        assert isinstance(a_policy().decide(a_head("HEAD"), NOW), Forward)

    def test_a_websocket_is_an_upgrade(self) -> None:
        decision = a_policy().decide(a_head(WEBSOCKET, b"/ws"), NOW, PolicyInputs(known()))

        assert isinstance(decision, Upgrade)

    def test_the_gateways_own_pages_take_precedence(self) -> None:
        assert a_policy().decide(a_head(path=b"/health/ready"), NOW) == OwnPage("ready")
        assert refused(a_policy().decide(a_head("POST", b"/health"), NOW)) == (405, "method_not_allowed")

    def test_an_undefined_rate_is_refused_at_the_start(self) -> None:
        with pytest.raises(ValueError, match="sign_on"):
            Policy(RouteTable([Route("catalog", "GET", "/x", rate="sign_on")]))

    def test_limits_of_a_route_override_the_defaults(self) -> None:
        policy = a_policy()
        deleting = policy.decide(a_head("DELETE", b"/products/prod_1"), NOW, PolicyInputs(known("products:write")))
        batch = policy.decide(a_head("POST", b"/products/batch"), NOW, PolicyInputs(known("products:write")))

        assert isinstance(deleting, Forward)
        assert isinstance(batch, Forward)
        assert (deleting.timeout, deleting.body_limit) == (5.0, 1 << 20)
        assert (batch.timeout, batch.body_limit) == (30.0, 8 << 20)


class TestContentEncoding:
    BODY = ((b"content-length", b"9"), (b"content-encoding", b"GZIP"))

    @pytest.mark.parametrize(("method", "path"), [("POST", b"/login"), ("GET", b"/products"), ("GET", b"/health")])
    def test_a_compressed_body_is_refused_with_what_is_accepted(self, method: str, path: bytes) -> None:
        decision = a_policy().decide(a_head(method, path, *self.BODY), NOW)

        assert refused(decision) == (415, "unsupported_content_encoding")
        assert decision.problem.headers == {"accept-encoding": "identity"}

    @pytest.mark.parametrize(
        "fields", [((b"content-length", b"9"), (b"content-encoding", b"identity")), ((b"content-encoding", b"gzip"),)]
    )
    def test_an_uncompressed_or_absent_body_is_accepted(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        assert isinstance(a_policy().decide(a_head("POST", b"/login", *fields), NOW), Forward)


class TestOperatorPages:
    PAGES = OperatorPages(frozenset({"/health/ready"}), ClientNetworks(["10.0.0.0/8", "fd00::/8"]))
    FORWARDED = (b"x-forwarded-for", b"10.1.2.3")

    def decide(self, *headers: Header, caller: Caller = ANONYMOUS, **options: str) -> object:
        policy = a_policy(operator_pages=self.PAGES, proxies=TrustedProxies(["10.9.9.9"]))
        return policy.decide(a_head("GET", b"/health/ready", *headers, **options), NOW, PolicyInputs(caller))

    @pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7"])
    def test_a_client_of_the_networks_reads_them(self, peer: str) -> None:
        assert self.decide(peer=peer) == OwnPage("ready")

    def test_another_client_needs_the_permission(self) -> None:
        assert refused(self.decide(peer="203.0.113.7")) == (401, "unauthorized")
        assert refused(self.decide(TOKEN, caller=known("orders:read"))) == (403, "permission_missing")
        assert self.decide(TOKEN, caller=known("gateway:read")) == OwnPage("ready")

    def test_the_client_behind_a_trusted_proxy_counts(self) -> None:
        assert self.decide(self.FORWARDED, peer="10.9.9.9") == OwnPage("ready")
        assert refused(self.decide((b"x-forwarded-for", b"203.0.113.7"), peer="10.9.9.9")) == (401, "unauthorized")

    @pytest.mark.parametrize("name", [b"x-forwarded-for", b"forwarded"])
    def test_a_request_through_an_unknown_proxy_is_not_of_the_networks(self, name: bytes) -> None:
        assert refused(self.decide((name, b"10.1.2.3"), peer="10.1.2.3")) == (401, "unauthorized")

    def test_the_other_own_pages_are_open(self) -> None:
        assert a_policy(operator_pages=self.PAGES).decide(a_head(path=b"/health"), NOW) == OwnPage("health")


class TestRetries:
    def test_an_unsafe_request_is_not_repeatable(self) -> None:
        decision = a_policy().decide(a_head("POST", b"/products"), NOW, PolicyInputs(known("products:write")))

        assert isinstance(decision, Forward)
        assert not decision.is_repeatable

    def test_a_get_with_a_body_is_not_repeatable(self) -> None:
        decision = a_policy().decide(a_head("GET", b"/products", (b"content-length", b"2")), NOW)

        assert isinstance(decision, Forward)
        assert not decision.is_repeatable


class TestCallers:
    def test_an_anonymous_caller_gets_401(self) -> None:
        decision = a_policy().decide(a_head(path=b"/auth/me"), NOW)

        assert refused(decision) == (401, "unauthorized")
        assert decision.problem.headers == {"www-authenticate": "Bearer"}

    def test_an_invalid_token_is_refused_with_the_reason(self) -> None:
        decision = a_policy().decide(
            a_head("GET", b"/auth/me", TOKEN), NOW, PolicyInputs(Caller("invalid", reason="revoked"))
        )

        assert refused(decision) == (401, "invalid_token")
        assert "revoked" in decision.problem.headers["www-authenticate"]

    def test_a_missing_permission_is_named(self) -> None:
        decision = a_policy().decide(a_head("POST", b"/products", TOKEN), NOW, PolicyInputs(known("orders:write")))

        assert refused(decision) == (403, "permission_missing")
        assert decision.problem.data() == {"permission": "products:write"}

    def test_the_wildcard_permission_includes_all(self) -> None:
        assert isinstance(
            a_policy().decide(a_head("POST", b"/products", TOKEN), NOW, PolicyInputs(known("*"))), Forward
        )

    def test_an_expired_principal_is_refused(self) -> None:
        found = PolicyInputs(Caller("known", a_principal(expires_at=NOW - 60)))

        assert refused(a_policy().decide(a_head("GET", b"/auth/me", TOKEN), NOW, found)) == (401, "invalid_token")

    def test_a_protected_route_gets_503_while_tokens_cannot_be_verified(self) -> None:
        found = PolicyInputs(Caller("unverifiable", retry_after=3.2))
        decision = a_policy().decide(a_head("GET", b"/auth/me", TOKEN), NOW, found)

        assert refused(decision) == (503, "caller_unknown")
        assert decision.problem.headers == {"retry-after": "4"}

    def test_a_public_route_is_served_while_tokens_cannot_be_verified(self) -> None:
        found = PolicyInputs(Caller("unverifiable", retry_after=3.2))

        assert isinstance(a_policy().decide(a_head("GET", b"/products", TOKEN), NOW, found), Forward)
        assert isinstance(a_policy().decide(a_head("GET", b"/feed", TOKEN), NOW, found), Forward)

    def test_tickets_are_accepted_for_streams_only(self) -> None:
        policy = a_policy()

        stream = policy.match(a_head(WEBSOCKET, b"/ws", query=b"a=1&ticket=xyz"))
        page = policy.match(a_head("GET", b"/auth/me", query=b"ticket=xyz"))

        assert isinstance(stream, MatchedRequest)
        assert isinstance(page, MatchedRequest)
        assert (stream.ticket, page.ticket) == (True, False)
        assert isinstance(policy.settle(stream, PolicyInputs(Caller("ticket")), NOW), Upgrade)


class TestRates:
    def test_the_rate_limit_is_checked_before_the_token(self) -> None:
        found = PolicyInputs(Caller("invalid", reason="expired"), Verdict(DEFAULT, False, 0, 41.5, 40.2))
        decision = a_policy().decide(a_head("GET", b"/auth/me", TOKEN), NOW, found)

        assert refused(decision) == (429, "too_many_requests")
        assert decision.problem.headers == {"retry-after": "41"}
        assert decision.problem.data() == {"retry_after": 41}

    def test_a_known_caller_is_counted_by_its_subject(self) -> None:
        matched = a_policy().match(a_head("GET", b"/auth/me", TOKEN))

        assert isinstance(matched, MatchedRequest)
        assert matched.rate_limit_key(known(subject="user_7")) == "default:user_7"
        assert matched.rate_limit_key(Caller("anonymous")) == "default:@203.0.113.7"

    def test_sign_in_is_counted_by_address_even_for_a_known_caller(self) -> None:
        matched = a_policy().match(a_head("POST", b"/login", TOKEN))

        assert isinstance(matched, MatchedRequest)
        assert matched.rate == SIGN_IN
        assert matched.rate_limit_key(known()) == "sign_in:@203.0.113.7"

    def test_behind_a_trusted_proxy_the_client_address_is_counted(self) -> None:
        policy = a_policy(proxies=TrustedProxies(["10.0.0.0/8"]))
        forwarded = (b"x-forwarded-for", b"198.51.100.9, 10.1.1.1")

        through = policy.match(a_head("GET", b"/products", forwarded, peer="10.0.0.2"))
        forged = policy.match(a_head("GET", b"/products", forwarded, peer="203.0.113.7"))

        assert isinstance(through, MatchedRequest)
        assert isinstance(forged, MatchedRequest)
        assert (through.client, forged.client) == ("198.51.100.9", "203.0.113.7")

    def test_an_ipv6_client_is_counted_by_its_64_network(self) -> None:
        matched = a_policy().match(a_head(peer="2001:db8:1:2:3:4:5:6"))

        assert isinstance(matched, MatchedRequest)
        assert matched.rate_limit_key(Caller("anonymous")) == "default:@2001:db8:1:2::/64"


class TestBodies:
    def test_a_declared_body_above_the_limit_is_refused(self) -> None:
        head = a_head("POST", b"/login", (b"content-length", b"1048577"))

        assert refused(a_policy().decide(head, NOW)) == (413, "content_too_large")

    def test_a_body_at_the_limit_is_forwarded(self) -> None:
        assert isinstance(a_policy().decide(a_head("POST", b"/login", (b"content-length", b"1048576")), NOW), Forward)


class TestPreflight:
    ASKING = ((b"origin", ORIGIN.encode()), (b"access-control-request-method", b"POST"))

    def test_a_preflight_of_an_allowed_origin_lists_the_methods(self) -> None:
        requested = (*self.ASKING, (b"access-control-request-headers", b"authorization, if-match"))
        decision = a_policy(cors=Cors([ORIGIN])).decide(a_head("OPTIONS", b"/products", *requested), NOW)

        assert isinstance(decision, Preflight)
        answer = dict(decision.headers)
        assert answer[b"access-control-allow-origin"] == ORIGIN.encode()
        assert answer[b"access-control-allow-credentials"] == b"true"
        assert answer[b"access-control-allow-methods"] == b"GET, HEAD, POST"
        assert answer[b"access-control-allow-headers"] == b"authorization, if-match"

    def test_a_preflight_of_another_origin_lists_nothing(self) -> None:
        decision = a_policy(cors=Cors(["https://shop.example"])).decide(
            a_head("OPTIONS", b"/products", *self.ASKING), NOW
        )

        assert isinstance(decision, Preflight)
        assert [name for name, _ in decision.headers] == [b"vary"]

    def test_a_preflight_of_any_origin_is_allowed_where_the_route_says_so(self) -> None:
        head = a_head(
            "OPTIONS",
            b"/.well-known/jwks.json",
            (b"origin", b"https://app.example"),
            (b"access-control-request-method", b"GET"),
            (b"access-control-request-headers", b"authorization"),
        )

        headers = dict(a_policy(cors=Cors(["http://localhost:3000"])).decide(head, NOW).headers)

        assert headers[b"access-control-allow-origin"] == b"*"
        assert headers[b"access-control-allow-headers"] == b"authorization"
        assert b"access-control-allow-credentials" not in headers

    def test_options_without_preflight_headers_is_405(self) -> None:
        assert refused(a_policy().decide(a_head("OPTIONS", b"/products"), NOW)) == (405, "method_not_allowed")


callers = st.sampled_from(
    [
        Caller("anonymous"),
        Caller("invalid", reason="expired"),
        Caller("unverifiable"),
        known(),
        known("*"),
        Caller("ticket"),
    ]
)
verdicts = st.sampled_from([None, Verdict(DEFAULT, True, 3, 9.0), Verdict(DEFAULT, False, 0, 9.0, 9.0)])
paths = st.sampled_from([route.path.replace("{product_id}", "prod_1").encode() for route in ROUTES]) | st.binary(
    max_size=30
)
heads = st.builds(
    a_head,
    st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "BREW", WEBSOCKET]),
    paths,
    st.tuples(
        st.sampled_from([b"accept", b"x-forwarded-for", b"content-length", b"connection", b"a b"]),
        st.binary(max_size=20),
    ),
)


class TestLaws:
    @given(heads, callers, verdicts)
    def test_explain_returns_the_same_decision_as_decide(
        self, head: object, caller: Caller, verdict: Verdict | None
    ) -> None:
        policy = a_policy()
        found = PolicyInputs(caller, verdict)

        decision = policy.decide(head, NOW, found)
        explanation = policy.explain(head, NOW, found)

        assert type(explanation.decision) is type(decision)
        assert explanation.reasons
        assert all(reason and "None" not in reason for reason in explanation.reasons)
        if isinstance(decision, Refuse):
            assert decision.problem.sentence() == explanation.decision.problem.sentence()
            assert str(decision.problem.status) in explanation.reasons[-1]

    @given(heads, callers)
    def test_anonymous_requests_never_reach_a_protected_route(self, head: object, caller: Caller) -> None:
        decision = a_policy().decide(head, NOW, PolicyInputs(caller))

        if isinstance(decision, Forward) and decision.route.access.needs_caller:
            assert caller.principal is not None or caller.state == "ticket"

    @given(heads)
    def test_routes_for_services_only_are_never_forwarded(self, head: object) -> None:
        decision = a_policy([Route("identity", "GET", "/products", Access("service"))]).decide(head, NOW)

        assert not isinstance(decision, Forward)


class TestExplaining:
    def test_each_check_has_a_sentence(self) -> None:
        explanation = a_policy().explain(
            a_head("POST", b"/products", TOKEN),
            NOW,
            PolicyInputs(known("orders:write"), Verdict(DEFAULT, True, 41, 20.0)),
        )

        assert explanation.reasons == [
            "POST /products is a route of catalog.",
            "The route needs a caller with the permission 'products:write'.",
            "The rate limit 'default' allows 100 requests in 60 s, counted for default:user_1.",
            "41 more requests are allowed.",
            "The caller is user_1 with orders:write.",
            "Refused with 403 permission_missing: This needs the permission 'products:write', which the caller does not have.",
        ]

    def test_routes_for_services_only_are_explained(self) -> None:
        policy = a_policy(
            [Route("orders", "GET", "/orders/totals", Access("service")), Route("orders", "GET", "/orders/{id}")]
        )

        reason = "GET /orders/totals of orders is for services only. The gateway does not route it."
        assert policy.explain(a_head("GET", b"/orders/totals"), NOW).reasons[0] == reason
        assert policy.explain(a_head("HEAD", b"/orders/totals"), NOW).reasons[0] == reason
        assert policy.explain(a_head("PUT", b"/orders/totals"), NOW).reasons[0] != reason
        assert len(policy.explain(a_head("GET", b"/nothing"), NOW).reasons) == 1
