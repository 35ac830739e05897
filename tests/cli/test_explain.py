import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cli.in_process import run_here

from portico.cli.explain import read_request_head
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.errors import CommandError
from portico.testing.commands import Command, fetch, free_ports, run_portico
from portico.testing.issuer import Issuer

JOE = {"email": "joe@example.com", "password": "a long enough password"}


def explained(folder: Path, *arguments: str, entered: str = "", **variables: str) -> dict[str, Any]:
    done = run_here(folder, "explain", *arguments, "--json", variables=variables, entered=entered)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class TestExplain:
    def test_prints_the_reasons_and_the_decision(self, tmp_path: Path) -> None:
        message = run_portico(tmp_path, "explain", "get", "/orders/ord_1", "--system", "commerce").stdout

        assert "GET /orders/ord_1 at commerce" in message
        assert "GET /orders/{order_id} is a route of orders." in message
        assert "Refused with 401 unauthorized" in message
        assert list(tmp_path.iterdir()) == []

    def test_prints_the_decision_as_json(self, tmp_path: Path) -> None:
        found = explained(tmp_path, "GET", "/products?limit=2", REQUEST_TIMEOUT="7")

        reasons = found.pop("reasons")
        assert found == {
            "system": "commerce",
            "method": "GET",
            "path": "/products",
            "decision": "forward",
            "route": {"service": "catalog", "method": "GET", "path": "/products"},
            "timeout": 7.0,
            "body_limit": 1 << 20,
            "repeatable": True,
        }
        assert reasons[-1].startswith("Forwarded to catalog, with 7 s")

    def test_an_internal_route_is_refused_with_its_reason(self, tmp_path: Path) -> None:
        found = explained(tmp_path, "GET", "/orders/totals")

        assert (found["decision"], found["status"], found["code"]) == ("refuse", 404, "not_found")
        assert "for services only" in found["reasons"][0]

    def test_headers_affect_the_decision(self, tmp_path: Path) -> None:
        found = explained(tmp_path, "POST", "/products", "--header", "Content-Length: 1048577")

        assert (found["status"], found["code"]) == (413, "content_too_large")

    def test_a_token_that_cannot_be_verified_is_refused(self, tmp_path: Path) -> None:
        (nobody,) = free_ports(1)
        token = Issuer(Clock()).token()

        found = explained(
            tmp_path, "GET", "/auth/me", "--token", token, IDENTITY_SERVICE_URL=f"http://127.0.0.1:{nobody}"
        )

        assert (found["status"], found["code"]) == (503, "caller_unknown")
        assert "The token cannot be verified at the moment." in found["reasons"]


@dataclass(frozen=True)
class Identity:
    """A running identity, and a customer who is signed in."""

    address: str
    token: str

    @property
    def variables(self) -> Mapping[str, str]:
        return {"IDENTITY_SERVICE_URL": self.address}


@pytest.fixture
def identity(tmp_path: Path) -> Iterator[Identity]:
    folder = tmp_path / "identity"
    folder.mkdir()
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    with Command(folder, "run", "identity", "--port", str(port)) as running:
        running.wait_for(address)
        assert fetch(address + "/register", method="POST", body=JOE)[0] == 201
        _, signed_in = fetch(address + "/login", method="POST", body=JOE)
        yield Identity(address, signed_in["access_token"])


@pytest.mark.slow
class TestValidToken:
    def test_is_accepted_until_its_session_ends(self, tmp_path: Path, identity: Identity) -> None:
        refused = explained(tmp_path, "POST", "/products", "--token", identity.token, **identity.variables)
        passed = explained(tmp_path, "GET", "/orders", "--token", "-", entered=identity.token, **identity.variables)
        fetch(identity.address + "/auth/logout", method="POST", headers={"authorization": f"Bearer {identity.token}"})
        ended = explained(tmp_path, "GET", "/orders", "--token", identity.token, **identity.variables)

        assert (refused["status"], refused["code"]) == (403, "permission_missing")
        assert passed["decision"] == "forward"
        assert (ended["status"], ended["code"]) == (401, "invalid_token")
        assert "The token is not valid: revoked." in ended["reasons"]


class TestReadRequestHead:
    def test_has_what_a_client_would_send(self) -> None:
        head = read_request_head("get", "/products/a b?q=ö&x=%20", "t", ["X-Request-ID: 7"])

        assert (head.method, head.path, head.query) == ("GET", b"/products/a%20b", b"q=%C3%B6&x=%20")
        assert list(head.headers) == [
            (b"x-request-id", b"7"),
            (b"authorization", b"Bearer t"),
            (b"host", b"localhost"),
        ]

    def test_a_path_begins_with_a_slash(self) -> None:
        with pytest.raises(CommandError, match="not a path"):
            read_request_head("GET", "http://shop.example/products", None, [])

    def test_a_header_has_a_name_and_a_value(self) -> None:
        for text in ("accept", ": text/html"):
            with pytest.raises(CommandError, match="not a header"):
                read_request_head("GET", "/", None, [text])
