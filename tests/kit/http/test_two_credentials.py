from portico.kit.calls.channel import Outgoing
from portico.testing.running_service import RunningService


class TestTwoCredentials:
    async def test_are_both_rejected(self, embedded_loans: RunningService) -> None:
        headers = [
            (b"authorization", f"Bearer {embedded_loans.issuer.token()}".encode()),
            (b"authorization", f"Bearer {embedded_loans.issuer.token(permissions=['books:write'])}".encode()),
            (b"content-type", b"application/json"),
        ]

        answer = await embedded_loans.channel.send(
            Outgoing("loans", "POST", "/books", headers=headers, body=b'{"title": "Dune"}')
        )

        assert answer.status == 401
