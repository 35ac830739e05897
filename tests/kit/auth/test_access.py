import dataclasses
from datetime import timedelta
from typing import Annotated

import pytest

from portico.kit.auth import FromService, KnownCaller, Principal, SignedIn, permitted
from portico.kit.auth.access import Access, AccessKind, ServicesOnly, UsersOnly
from portico.kit.foundation.problems import PermissionMissing
from portico.kit.http.router import access_of_endpoint
from portico.testing.clock import START


def principal(subject: str, *permissions: str) -> Principal:
    return Principal(
        subject=subject,
        kind="service" if subject.startswith("service:") else "user",
        permissions=frozenset(permissions),
        roles=(),
        token_id="token_1",
        session_id=None,
        issued_at=START,
        expires_at=START + timedelta(hours=1),
    )


USER, CLERK, SERVICE = principal("user_1"), principal("user_2", "payments:write"), principal("service:orders")


class TestCheck:
    def test_known_allows_users_and_services(self) -> None:
        Access("known").check(USER)
        Access("known").check(SERVICE)

    def test_a_permission_is_required_of_services_too(self) -> None:
        Access("permission", "payments:write").check(CLERK)
        with pytest.raises(PermissionMissing):
            Access("permission", "payments:write").check(SERVICE)

    def test_or_service_allows_any_service(self) -> None:
        access = Access("permission", "payments:write", or_service=True)

        access.check(SERVICE)
        access.check(CLERK)
        with pytest.raises(PermissionMissing):
            access.check(USER)

    def test_distinguishes_services_and_users(self) -> None:
        with pytest.raises(ServicesOnly):
            Access("service").check(CLERK)
        with pytest.raises(UsersOnly):
            Access("signed_in").check(SERVICE)

    @pytest.mark.parametrize("kind", ["optional", "known", "signed_in"])
    def test_a_registered_client_needs_a_scope_for_what_needs_no_permission(self, kind: AccessKind) -> None:
        with pytest.raises(PermissionMissing, match="'api'"):
            Access(kind).check(dataclasses.replace(USER, client_id="client_1", permissions=frozenset({"openid"})))
        Access(kind).check(dataclasses.replace(USER, client_id="client_1", permissions=frozenset({"api"})))

    def test_a_registered_client_has_the_permissions_in_its_scope(self) -> None:
        Access("permission", "payments:write").check(dataclasses.replace(CLERK, client_id="client_1"))


class TestAccessOfEndpoint:
    def test_is_read_from_the_signature(self) -> None:
        async def known(caller: KnownCaller) -> None: ...

        async def signed_in(caller: SignedIn) -> None: ...

        async def service(caller: FromService) -> None: ...

        async def clerk(caller: Annotated[Principal, permitted("payments:write", or_service=True)]) -> None: ...

        assert access_of_endpoint(known) == Access("known")
        assert access_of_endpoint(signed_in) == Access("signed_in")
        assert access_of_endpoint(service) == Access("service")
        assert access_of_endpoint(clerk) == Access("permission", "payments:write", or_service=True)
        assert access_of_endpoint(known) != access_of_endpoint(signed_in)
