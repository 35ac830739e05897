"""Foundation: clock, identifiers, money, problems, asyncio helpers. It imports no other part of the kit."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.foundation.aio import wait_for_event
    from portico.kit.foundation.backoff import Backoff
    from portico.kit.foundation.clock import Clock, latest_due, seconds_until
    from portico.kit.foundation.ids import Identifier, IntegerIdentifier
    from portico.kit.foundation.money import (
        EXPONENTS,
        MAX_MINOR_UNITS,
        Amount,
        CurrencyCode,
        Money,
        TooPrecise,
        UnknownCurrency,
        json_number,
    )
    from portico.kit.foundation.problems import (
        BadRequest,
        Conflict,
        ContentTooLarge,
        Forbidden,
        InvalidCredentials,
        NotFound,
        PermissionMissing,
        PreconditionFailed,
        Problem,
        TooManyRequests,
        Unauthorized,
        Unavailable,
        Unprocessable,
    )
    from portico.kit.foundation.text import CJK, FLAG_LETTERS, NOT_IN_A_LINE, SYMBOLS, blank_separators, fold
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "aio": "wait_for_event",
            "backoff": "Backoff",
            "clock": "Clock latest_due seconds_until",
            "ids": "Identifier IntegerIdentifier",
            "money": "EXPONENTS MAX_MINOR_UNITS Amount CurrencyCode Money TooPrecise UnknownCurrency json_number",
            "problems": "BadRequest Conflict ContentTooLarge Forbidden InvalidCredentials NotFound PermissionMissing PreconditionFailed Problem TooManyRequests Unauthorized Unavailable Unprocessable",
            "text": "CJK FLAG_LETTERS NOT_IN_A_LINE SYMBOLS blank_separators fold",
        },
    )

__all__ = [
    "CJK",
    "EXPONENTS",
    "FLAG_LETTERS",
    "MAX_MINOR_UNITS",
    "NOT_IN_A_LINE",
    "SYMBOLS",
    "Amount",
    "Backoff",
    "BadRequest",
    "Clock",
    "Conflict",
    "ContentTooLarge",
    "CurrencyCode",
    "Forbidden",
    "Identifier",
    "IntegerIdentifier",
    "InvalidCredentials",
    "Money",
    "NotFound",
    "PermissionMissing",
    "PreconditionFailed",
    "Problem",
    "TooManyRequests",
    "TooPrecise",
    "Unauthorized",
    "Unavailable",
    "UnknownCurrency",
    "Unprocessable",
    "blank_separators",
    "fold",
    "json_number",
    "latest_due",
    "seconds_until",
    "wait_for_event",
]
