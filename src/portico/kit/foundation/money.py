"""Money: in JSON a decimal number and its currency, in code and tables a number of minor units."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainSerializer

from portico.kit.foundation.problems import Unprocessable

MAX_MINOR_UNITS = 10**12  # minor units; JSON numbers (RFC 8259 section 6) represent fifteen digits exactly

# ISO 4217: currencies whose minor unit is not a hundredth.
_OTHER_EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
_HUNDREDTHS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC"
    " CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES"
    " KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR"
    " NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT"
    " TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWL"
)
EXPONENTS: dict[str, int] = dict.fromkeys(_HUNDREDTHS.split(), 2) | _OTHER_EXPONENTS

_SCALES: dict[str, int] = {currency: 10**exponent for currency, exponent in EXPONENTS.items()}


class UnknownCurrency(Unprocessable):
    detail = "'{currency}' is not the code of a currency in use (ISO 4217)."
    location = ("body", "currency")

    currency: str


class TooPrecise(Unprocessable):
    detail = "An amount in {currency} has at most {decimals} decimals."
    location = ("body",)

    currency: str
    decimals: int


def _from_number(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))  # the shortest decimal of this float, as the caller wrote it
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number")  # noqa: TRY004  # pydantic reports a ValueError as 422
    return Decimal(value) if isinstance(value, int) else value


Amount = Annotated[
    Decimal,
    BeforeValidator(_from_number, json_schema_input_type=float),
    Field(ge=0, max_digits=15, decimal_places=4, le=MAX_MINOR_UNITS // 100, allow_inf_nan=False, strict=False),
    PlainSerializer(float, return_type=float, when_used="json"),
]
"""An amount of 0 or more: a JSON number in input and output, a Decimal in code."""

CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217", examples=["USD"])]


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in minor units of its currency (cents of USD, yen of JPY)."""

    minor: int
    currency: str

    @classmethod
    def of(cls, amount: Decimal, currency: str) -> Self:
        """Convert a decimal amount. Raises UnknownCurrency, or TooPrecise if it has too many decimals."""
        if currency not in EXPONENTS:
            raise UnknownCurrency(currency=currency)
        minor = amount.scaleb(EXPONENTS[currency])
        if minor != minor.to_integral_value():
            raise TooPrecise(currency=currency, decimals=EXPONENTS[currency])
        return cls(int(minor), currency)

    @property
    def amount(self) -> Decimal:
        """The amount as a decimal: 999.99."""
        return Decimal(self.minor).scaleb(-EXPONENTS[self.currency])


def json_number(minor: int, currency: str) -> float:
    """Return an amount as JSON number: the float nearest to the decimal, which prints like it."""
    return minor / _SCALES[currency]
