"""The currencies of ISO 4217, list one, January 2026, without gold, test and fund codes."""

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_HUNDREDTHS = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK
DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD
KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN
QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU
UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
HUNDREDTHS = frozenset(_HUNDREDTHS.split())

# No minor unit; thousandths; ten-thousandths; fifths, which ISO 4217 lists as hundredths.
_OTHERS = """
BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF
BHD IQD JOD KWD LYD OMR TND
CLF UYW
MGA MRU
"""
OTHERS = frozenset(_OTHERS.split())


def _known(code: str) -> str:
    if code not in HUNDREDTHS and code not in OTHERS:
        raise PydanticCustomError("currency", "must be an ISO 4217 currency code such as EUR")
    return code


def _counted_in_hundredths(code: str) -> str:
    if code in OTHERS:
        raise PydanticCustomError(
            "currency", "must not be {code}, which is not counted in hundredths as all amounts here are", {"code": code}
        )
    return _known(code)


_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]})

CurrencyCode = Annotated[str, AfterValidator(_known), _SCHEMA]

Currency = Annotated[str, AfterValidator(_counted_in_hundredths), _SCHEMA]
"""Counted in hundredths."""
