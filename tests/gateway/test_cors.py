import pytest

from portico.gateway.cors import Cors


class TestCors:
    def test_a_wildcard_origin_is_refused_with_credentials(self) -> None:
        with pytest.raises(ValueError, match="credentials"):
            Cors(["*"])

    def test_an_allowed_origin_gets_cors_headers(self) -> None:
        answer = Cors(["http://localhost:3000/"]).response_headers([(b"origin", b"http://localhost:3000")])

        assert (b"access-control-allow-origin", b"http://localhost:3000") in answer
        assert (b"access-control-allow-credentials", b"true") in answer
        assert (b"vary", b"Origin") in answer

    def test_pages_may_read_every_header_that_a_client_acts_upon(self) -> None:
        answer = dict(Cors(["http://localhost:3000"]).response_headers([(b"origin", b"http://localhost:3000")]))
        exposed = set(answer[b"access-control-expose-headers"].decode().lower().split(", "))

        assert exposed >= {"etag", "location", "link", "x-total-count", "x-request-id", "idempotency-replayed"}
        assert exposed >= {"www-authenticate", "allow", "accept-encoding"}
        assert exposed >= {"retry-after", "ratelimit", "ratelimit-policy"}

    @pytest.mark.parametrize("origin", [b"http://localhost:3001", b"http://localhost:3000.evil.example", b"null", b""])
    def test_another_origin_gets_no_cors_headers(self, origin: bytes) -> None:
        assert Cors(["http://localhost:3000"]).response_headers([(b"origin", origin)]) == [(b"vary", b"Origin")]

    def test_every_response_varies_by_origin(self) -> None:
        assert Cors(["http://localhost:3000"]).response_headers([]) == [(b"vary", b"Origin")]
        assert Cors([]).response_headers([]) == []

    def test_a_route_for_any_origin_allows_others_without_credentials(self) -> None:
        cors = Cors(["http://localhost:3000"])

        known = dict(cors.response_headers([(b"origin", b"http://localhost:3000")], any_origin=True))
        other = dict(cors.response_headers([(b"origin", b"https://app.example")], any_origin=True))
        without = dict(Cors([]).response_headers([(b"origin", b"https://app.example")], any_origin=True))

        assert known[b"access-control-allow-origin"] == b"http://localhost:3000"
        assert (other[b"access-control-allow-origin"], other[b"vary"]) == (b"*", b"Origin")
        assert b"access-control-allow-credentials" not in other
        assert without[b"access-control-allow-origin"] == b"*"
