from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request

from portico.kit.http.client_info import ClientInfo, client_address

TRUSTING: Any = SimpleNamespace(settings=SimpleNamespace(trusted_proxies=()))


def request_from(peer: str | None, **headers: str) -> Request:
    """Return a request; a header value of several lines becomes several header lines."""
    sent = [
        (name.replace("_", "-").encode(), line.encode())
        for name, value in headers.items()
        for line in value.splitlines()
    ]
    return Request(
        {
            "type": "http",
            "headers": [(b"host", b"service:8001"), *sent],
            "client": (peer, 1) if peer else None,
            "scheme": "http",
            "path": "/",
            "query_string": b"",
        }
    )


class TestClientAddress:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "client"),
        [
            ("203.0.113.1", "198.51.100.7", "203.0.113.1"),
            ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "198.51.100.7, 127.0.0.1", "198.51.100.7"),
            ("127.0.0.1", "1.2.3.4\n198.51.100.7", "198.51.100.7"),
            ("127.0.0.1", "nonsense", "127.0.0.1"),
            ("127.0.0.1", "fe80::1%" + "z" * 300, "127.0.0.1"),
            ("::ffff:127.0.0.1", "198.51.100.7", "198.51.100.7"),
            (None, "198.51.100.7", "198.51.100.7"),
        ],
    )
    def test_is_the_nearest_untrusted_address(self, peer: str | None, forwarded: str, client: str) -> None:
        assert client_address(request_from(peer, x_forwarded_for=forwarded), TRUSTING) == client

    def test_an_address_with_a_zone_is_accepted(self) -> None:
        assert ClientInfo("fe80::1%eth0", "").rate_limit_key == "fe80::1%eth0"
