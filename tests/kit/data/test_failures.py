import socket

import asyncmy.errors
import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError

from portico.kit.data.failures import is_disconnected, is_retryable_conflict, is_storage_full, is_unavailable

DROPPED = [
    ConnectionResetError(),
    asyncpg.InternalClientError("not connected"),
    InterfaceError("SELECT 1", None, asyncpg.InterfaceError("connection is closed")),
    DBAPIError("SELECT 1", None, asyncpg.CannotConnectNowError("the database system is starting up")),
    DBAPIError("SELECT 1", None, asyncpg.AdminShutdownError("terminating connection")),
]


class TestIsUnavailable:
    @pytest.mark.parametrize("error", [*DROPPED, TimeoutError(), socket.gaierror()], ids=repr)
    def test_true_for_a_lost_database(self, error: Exception) -> None:
        assert is_unavailable(error)

    @pytest.mark.parametrize(
        "error", [ValueError(), DBAPIError("SELECT", None, asyncpg.DataError("too long"))], ids=repr
    )
    def test_false_for_other_errors(self, error: Exception) -> None:
        assert not is_unavailable(error)


class TestIsStorageFull:
    FULL = (
        DBAPIError("INSERT", None, asyncpg.DiskFullError("could not extend file")),
        DBAPIError("INSERT", None, asyncmy.errors.OperationalError(1021, "Disk full")),
        DBAPIError("INSERT", None, asyncmy.errors.OperationalError(1114, "The table is full")),
    )

    @pytest.mark.parametrize("error", FULL, ids=repr)
    def test_true_for_what_servers_report(self, error: Exception) -> None:
        assert is_storage_full(error)
        assert is_unavailable(error)
        assert not is_disconnected(error)

    @pytest.mark.parametrize("error", [*DROPPED, OSError(28, "No space left on device")], ids=repr)
    def test_false_if_the_outcome_is_not_known(self, error: Exception) -> None:
        assert not is_storage_full(error)


class TestIsDisconnected:
    @pytest.mark.parametrize("error", DROPPED, ids=repr)
    def test_true_if_another_connection_may_work(self, error: Exception) -> None:
        assert is_disconnected(error)


class TestIsRetryableConflict:
    @pytest.mark.parametrize("cause", [asyncpg.DeadlockDetectedError(""), asyncpg.SerializationError("")], ids=repr)
    def test_true_for_deadlocks_and_serialization_failures(self, cause: Exception) -> None:
        assert is_retryable_conflict(DBAPIError("UPDATE", None, cause))

    def test_false_for_a_lost_connection(self) -> None:
        assert not is_retryable_conflict(asyncpg.InternalClientError("not connected"))
