"""Why an order, payment or refund failed: codes, and their words by audience and language.

Codes are shown through a `Reader`: a customer must not learn that a card is known to be stolen.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Self

from chassis.messaging.upcasters import Data, Upcaster

if TYPE_CHECKING:
    from chassis.security.auth import Caller


class Audience(StrEnum):
    CUSTOMER = "customer"
    STAFF = "staff"


class Text(NamedTuple):
    en: str
    de: str


LANGUAGES = Text._fields


class Reason(StrEnum):
    """`customer`: words, or the code shown instead."""

    customer: Text | str
    staff: Text

    def __new__(cls, code: str, customer: Text | str = "", staff: Text | None = None) -> Self:
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.customer = customer
        reason.staff = staff or Text(*customer)
        return reason

    # Stock

    OUT_OF_STOCK = (
        "out_of_stock",
        Text("Something in the order is out of stock.", "Etwas aus der Bestellung ist nicht mehr vorrätig."),
    )
    NOT_FOR_SALE = (
        "not_for_sale",
        Text("Something in the order is no longer for sale.", "Etwas aus der Bestellung wird nicht mehr verkauft."),
    )

    # The bank

    DECLINED = (
        "declined",
        Text(
            "The bank declined the payment. It can tell you why.",
            "Die Bank hat die Zahlung abgelehnt. Den Grund erfährst du dort.",
        ),
        Text("The bank declined the payment.", "Die Bank hat die Zahlung abgelehnt."),
    )
    INSUFFICIENT_FUNDS = (
        "insufficient_funds",
        Text(
            "The bank declined the payment because there is not enough money in the account.",
            "Die Bank hat die Zahlung abgelehnt, weil das Konto nicht gedeckt ist.",
        ),
    )
    LIMIT_EXCEEDED = (
        "limit_exceeded",
        Text(
            "The bank declined the payment because it exceeds the card's limit.",
            "Die Bank hat die Zahlung abgelehnt, weil das Limit der Karte überschritten ist.",
        ),
    )
    EXPIRED_CARD = (
        "expired_card",
        Text(
            "The bank declined the payment because the card has expired.",
            "Die Bank hat die Zahlung abgelehnt, weil die Karte abgelaufen ist.",
        ),
    )
    INCORRECT_CVC = (
        "incorrect_cvc",
        Text(
            "The bank declined the payment because the security code is wrong.",
            "Die Bank hat die Zahlung abgelehnt, weil die Prüfnummer nicht stimmt.",
        ),
    )
    STOLEN_CARD = (
        "stolen_card",
        "declined",
        Text("The card was reported stolen.", "Die Karte ist als gestohlen gemeldet."),
    )
    LOST_CARD = (
        "lost_card",
        "declined",
        Text("The card was reported lost.", "Die Karte ist als verloren gemeldet."),
    )
    FRAUD_SUSPECTED = (
        "fraud_suspected",
        "declined",
        Text("Fraud is suspected.", "Es besteht Betrugsverdacht."),
    )
    INVALID_PAYMENT_METHOD = (
        "invalid_payment_method",
        Text("The payment method is not valid.", "Die Zahlungsart ist nicht gültig."),
    )
    INVALID_AMOUNT = (
        "invalid_amount",
        Text("The amount cannot be charged.", "Der Betrag kann nicht abgebucht werden."),
    )
    INVALID_CURRENCY = (
        "invalid_currency",
        Text("We do not accept this currency.", "Wir nehmen diese Währung nicht an."),
    )
    NOT_CONFIRMED_IN_TIME = (
        "not_confirmed_in_time",
        Text("The payment was not confirmed in time.", "Die Zahlung wurde nicht rechtzeitig bestätigt."),
    )
    PROVIDER_UNAVAILABLE = (
        "provider_unavailable",
        Text("The bank did not respond in time.", "Die Bank hat nicht rechtzeitig geantwortet."),
    )
    REFUSED_BY_PROVIDER = (
        "refused_by_provider",
        Text("The payment could not be processed.", "Die Zahlung konnte nicht verarbeitet werden."),
        Text("The payment provider refused the request.", "Der Zahlungsdienst hat die Anfrage abgelehnt."),
    )
    VOIDED = (
        "voided",
        Text("The payment was released before it was collected.", "Die Zahlung wurde vor dem Einzug freigegeben."),
    )
    FAILED = (
        "failed",
        Text("The payment could not be collected.", "Die Zahlung konnte nicht eingezogen werden."),
    )

    # Our own decisions

    CANCELLED = (
        "cancelled",
        Text("The order was cancelled.", "Die Bestellung wurde storniert."),
    )
    CANCELLED_BY_CUSTOMER = (
        "cancelled_by_customer",
        Text("You asked us to cancel the order.", "Du hast um die Stornierung gebeten."),
        Text("The customer cancelled the order.", "Die Stornierung kam von der Kundenseite."),
    )
    CANCELLED_BY_SHOP = (
        "cancelled_by_shop",
        Text("We were unable to fulfil the order.", "Wir konnten die Bestellung nicht ausführen."),
        Text("The shop cancelled the order.", "Der Shop hat die Bestellung storniert."),
    )
    REFUNDED_BY_SHOP = (
        "refunded_by_shop",
        Text("We refunded the payment.", "Wir haben die Zahlung erstattet."),
        Text("The shop refunded the payment.", "Der Shop hat die Zahlung erstattet."),
    )
    REFUNDED_EXTERNALLY = (
        "refunded_externally",
        Text("We refunded the payment.", "Wir haben die Zahlung erstattet."),
        Text("The payment was refunded outside this system.", "Die Zahlung wurde außerhalb dieses Systems erstattet."),
    )
    DISPUTE_LOST = (
        "dispute_lost",
        Text("Your bank returned the disputed payment.", "Deine Bank hat die beanstandete Zahlung zurückgebucht."),
        Text("The shop lost the dispute.", "Der Shop hat das Beanstandungsverfahren verloren."),
    )
    RESERVATION_TIMED_OUT = (
        "reservation_timed_out",
        Text("The goods could not be reserved in time.", "Die Ware konnte nicht rechtzeitig reserviert werden."),
    )
    AUTHORIZATION_TIMED_OUT = (
        "authorization_timed_out",
        Text("The payment was not approved in time.", "Die Zahlung wurde nicht rechtzeitig genehmigt."),
    )
    COMMITMENT_TIMED_OUT = (
        "commitment_timed_out",
        Text("The goods could not be set aside in time.", "Die Ware konnte nicht rechtzeitig bereitgestellt werden."),
    )
    CAPTURE_TIMED_OUT = (
        "capture_timed_out",
        Text("The payment could not be collected in time.", "Die Zahlung konnte nicht rechtzeitig eingezogen werden."),
    )

    # Refunds and operator work

    REFUND_REFUSED = (
        "refund_refused",
        Text("The bank did not accept the refund.", "Die Bank hat die Erstattung nicht angenommen."),
    )
    REFUND_TO_LOST_CARD = (
        "refund_to_lost_card",
        "refund_refused",
        Text(
            "The bank did not accept the refund: the card was reported lost or stolen.",
            "Die Bank hat die Erstattung nicht angenommen: Die Karte ist als verloren oder gestohlen gemeldet.",
        ),
    )
    REFUND_RETURNED = (
        "refund_returned",
        "refund_refused",
        Text("The customer's bank returned the refund.", "Die Bank hat die Erstattung zurückgeschickt."),
    )
    NOT_CAPTURED = (
        "not_captured",
        Text("There is no payment to refund.", "Es gibt keine Zahlung, die erstattet werden könnte."),
    )
    EXCEEDS_CAPTURED = (
        "exceeds_captured",
        Text("The refund exceeds what was paid.", "Die Erstattung übersteigt den gezahlten Betrag."),
    )
    REFUND_ID_IN_USE = (
        "refund_id_in_use",
        "refund_refused",
        Text("Another payment has a refund with this id.", "Eine andere Zahlung hat eine Erstattung mit dieser ID."),
    )
    NO_REPLY = (
        "no_reply",
        Text("This is taking longer than it should.", "Das dauert länger als es sollte."),
        Text("A service has not replied in time.", "Ein Dienst hat nicht rechtzeitig geantwortet."),
    )
    OTHER = (
        "other",
        Text("It could not be completed.", "Das konnte nicht abgeschlossen werden."),
    )
    """A newer publisher's unknown reason."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, str]:
        """A new code makes no new message version."""
        return {"type": "string"}

    @classmethod
    def _missing_(cls, value: object) -> "Reason":
        return cls.OTHER

    @classmethod
    def named(cls, code: str, default: "Reason") -> "Reason":
        found = cls(code)
        return found if found == code else default

    def shown_to(self, audience: Audience) -> "Reason":
        return Reason(self.customer) if audience is Audience.CUSTOMER and isinstance(self.customer, str) else self

    def text(self, audience: Audience, language: str = "en") -> str:
        told = self.shown_to(audience)
        words = told.customer if audience is Audience.CUSTOMER else told.staff
        assert isinstance(words, Text)
        return words[LANGUAGES.index(language)]


@dataclass(frozen=True)
class Note:
    """Written by staff; customers read it only if it is for them."""

    text: str
    audience: Audience = Audience.STAFF


@dataclass(frozen=True)
class Reader:
    audience: Audience
    language: str = "en"

    @classmethod
    def of(cls, caller: "Caller") -> Self:
        """In the request's preferred language."""
        from chassis.web import languages

        return cls(Audience.STAFF if caller.is_staff else Audience.CUSTOMER, languages.preferred(LANGUAGES))

    def code(self, code: str | None) -> str | None:
        """Staff read even codes no longer in use."""
        if code is None or self.audience is Audience.STAFF:
            return code
        return Reason(code).shown_to(self.audience)

    def text(self, code: str | None) -> str | None:
        return None if code is None else Reason(code).text(self.audience, self.language)

    def note(self, note: Note | None) -> str | None:
        may_read = note is not None and self.audience in (Audience.STAFF, note.audience)
        return note.text if note is not None and may_read else None


def coded(by_staff: Reason = Reason.CANCELLED_BY_SHOP) -> Upcaster:
    """`reason` was a code, one of our sentences, or staff's own words (now the note)."""

    def upcast(data: Data) -> Data:
        words = data["reason"]
        if words in _SENTENCES:
            return {**data, "reason": _SENTENCES[words]}
        if not words or _CODE.fullmatch(words):
            return {**data, "reason": Reason.named(words, Reason.DECLINED if words else by_staff)}
        return {**data, "reason": by_staff, "note": {"text": words}}

    return upcast


_CODE = re.compile("[a-z0-9]+(_[a-z0-9]+)*")
_SENTENCES = {
    "Cancelled by the customer.": Reason.CANCELLED_BY_CUSTOMER,
    "Cancelled by the shop.": Reason.CANCELLED_BY_SHOP,
    "Refunded by the shop.": Reason.REFUNDED_BY_SHOP,
    "The goods could not be reserved in time.": Reason.RESERVATION_TIMED_OUT,
    "The payment was not answered in time.": Reason.AUTHORIZATION_TIMED_OUT,
    "The goods could not be set aside in time.": Reason.COMMITMENT_TIMED_OUT,
    "The payment could not be collected in time.": Reason.CAPTURE_TIMED_OUT,
}
