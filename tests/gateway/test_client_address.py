import pytest

from portico.gateway.client_address import TrustedProxies


class TestClient:
    PROXIES = TrustedProxies(["10.0.0.0/8", "::1"])

    @pytest.mark.parametrize(
        ("peer", "said", "client"),
        [
            ("203.0.113.7", b"1.2.3.4", "203.0.113.7"),
            ("10.0.0.1", None, "10.0.0.1"),
            ("10.0.0.1", b"1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", b"6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
            ("10.0.0.1", b"unknown", "10.0.0.1"),
            ("10.0.0.1", b"1.2.3.4:5555", "1.2.3.4"),
            ("::1", b"[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:10.0.0.1", b"1.2.3.4", "1.2.3.4"),
            ("", b"1.2.3.4", ""),
        ],
    )
    def test_the_client_is_the_rightmost_untrusted_address(self, peer: str, said: bytes | None, client: str) -> None:
        assert self.PROXIES.client(peer, said) == client

    def test_no_proxy_is_trusted_by_default(self) -> None:
        assert TrustedProxies().client("127.0.0.1", b"1.2.3.4") == "127.0.0.1"

    def test_an_invalid_network_is_refused(self) -> None:
        with pytest.raises(ValueError, match="proxy"):
            TrustedProxies(["the proxy"])
