"""The adapter to `devservers.bank`."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import urllib3
from pydantic import BaseModel, Field, ValidationError
from urllib3.exceptions import HTTPError

from chassis.base import tracing
from contracts.reasons import Reason
from services.payments.models import RefundStatus, Status
from services.payments.providers.interface import (
    Charge,
    Event,
    Gone,
    ProviderUnavailable,
    Refused,
    Repayment,
    Reported,
    payment_id_of,
    read_event,
    reason_of,
)
from services.payments.providers.signature import verify
from services.payments.settings import Settings

CONNECT_TIMEOUT_SECONDS = 2.0

_REFUSALS = frozenset({400, 402, 404, 409, 422})
"""Permanent. Not 401: the key can be corrected."""

_OUR_NAMES = {"source": "payment_method"}

M = TypeVar("M", bound=BaseModel)

_pool = urllib3.PoolManager(maxsize=16, retries=False)


class SandboxProvider:
    name = "sandbox"
    signature_header = "Sandbox-Signature"
    fraud_warning = "charge.fraud_warning"

    def __init__(self, settings: Settings) -> None:
        self._url = settings.sandbox_url.rstrip("/")
        self._key = settings.sandbox_key.get_secret_value()
        self._webhook_secret = settings.sandbox_webhook_secret.get_secret_value()
        self._tolerance_seconds = settings.webhook_tolerance_seconds
        self._timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=settings.provider_timeout_seconds)

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        terms = {"amount": amount, "currency": currency, "source": method, "capture": capture}
        return self._charge("/charges", str(payment_id), {**terms, "reference": str(payment_id)})

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        return self._charge(f"{_path(reference)}/capture", f"{payment_id}:capture")

    def void(self, payment_id: UUID, reference: str) -> Charge:
        return self._charge(f"{_path(reference)}/void", f"{payment_id}:void")

    def find(self, payment_id: UUID, reference: str | None) -> Charge | None:
        found = self._get(_Charges, f"/charges?reference={payment_id}")
        return found.items[0].charge() if found.items else None

    def refund(self, refund_id: UUID, payment_id: UUID, reference: str, amount: int) -> Repayment:
        body = {"amount": amount, "reference": str(refund_id)}
        response = self._request("POST", f"{_path(reference)}/refunds", {"Idempotency-Key": str(refund_id)}, body)
        return _parsed(_Refund, response).repayment()

    def find_refund(self, refund_id: UUID, reference: str) -> Repayment | None:
        refunds = self._get(_Refunds, f"{_path(reference)}/refunds").items
        return next((refund.repayment() for refund in refunds if refund.reference == str(refund_id)), None)

    def charge_of(self, reference: str) -> str | None:
        return reference

    def event(self, body: bytes, signature: str) -> Event:
        verify(body, signature, self._webhook_secret, self._tolerance_seconds, time.time())
        return read_event(body, ("data", "reference"), [("data", "id")])

    def report(self, since: datetime, until: datetime) -> Iterator[Reported]:
        after: str | None = "0"
        while after is not None:
            query = {"since": since.isoformat(), "until": until.isoformat(), "after": after, "limit": 100}
            page = self._get(_Report, f"/charges?{urlencode(query)}")
            yield from (charge.reported() for charge in page.items)
            after = page.next

    def _charge(self, path: str, key: str, body: dict[str, Any] | None = None) -> Charge:
        return _parsed(_Charge, self._request("POST", path, {"Idempotency-Key": key}, body)).charge()

    def _get(self, shape: type[M], path: str) -> M:
        """A refused lookup counts as no response."""
        try:
            return _parsed(shape, self._request("GET", path, {}))
        except Refused as refusal:
            raise ProviderUnavailable(f"The sandbox provider refused a lookup: {refusal.reason}.") from refusal

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> urllib3.BaseHTTPResponse:
        headers = {**headers, "Authorization": f"Bearer {self._key}"}
        try:
            with tracing.http_call(method, self._url) as span:
                response = _pool.request(method, self._url + path, json=body, headers=headers, timeout=self._timeout)
                tracing.responded(span, response.status)
        except HTTPError as error:
            raise ProviderUnavailable(f"The sandbox provider is unavailable: {type(error).__name__}.") from error
        if response.status in _REFUSALS:
            raise Refused(_reason(response))
        if response.status not in (200, 201):
            raise ProviderUnavailable(f"The sandbox provider returned {response.status}.")
        return response


def _path(reference: str) -> str:
    return f"/charges/{quote(reference, safe='')}"


class _Charge(BaseModel):
    id: str = Field(max_length=255)
    status: Literal["pending", "authorized", "captured", "declined", "voided"]
    decline_reason: str | None
    action_url: str | None = Field(default=None, max_length=2_000)
    amount_captured: int = Field(ge=0)
    amount_refunded: int = Field(ge=0)
    amount_disputed: int = Field(ge=0)
    amount_charged_back: int = Field(ge=0)

    @property
    def gone(self) -> Gone:
        return Gone(self.amount_refunded, self.amount_disputed, self.amount_charged_back)

    def charge(self) -> Charge:
        declined = self.status == "declined"
        reason = reason_of(SandboxProvider.name, self.decline_reason, Reason.DECLINED) if declined else None
        return Charge(self.id, Status(self.status), reason, self.action_url, self.amount_captured, self.gone)


class _Charges(BaseModel):
    items: list[_Charge]


class _Booked(_Charge):
    amount: int
    currency: str
    reference: str

    def reported(self) -> Reported:
        held = self.amount if self.status == "authorized" else 0
        payment_id = payment_id_of(self.reference)
        return Reported(self.id, payment_id, held, self.amount_captured, self.gone, self.currency)


class _Report(BaseModel):
    items: list[_Booked]
    next: str | None


class _Refund(BaseModel):
    id: str = Field(max_length=255)
    reference: str | None = None
    status: Literal["succeeded", "failed"] = "succeeded"

    def repayment(self) -> Repayment:
        if self.status == "failed":
            return Repayment(self.id, RefundStatus.REFUSED, Reason.REFUND_REFUSED)
        return Repayment(self.id, RefundStatus.REFUNDED)


class _Refunds(BaseModel):
    items: list[_Refund]


class _Problem(BaseModel):
    field: str = Field(max_length=50)


def _parsed(shape: type[M], response: urllib3.BaseHTTPResponse) -> M:
    try:
        return shape.model_validate_json(response.data)
    except ValidationError as error:
        raise ProviderUnavailable("The sandbox provider returned an invalid response.") from error


def _reason(response: urllib3.BaseHTTPResponse) -> Reason:
    try:
        field = _Problem.model_validate_json(response.data).field
    except ValidationError:
        return Reason.REFUSED_BY_PROVIDER
    return reason_of(SandboxProvider.name, f"invalid_{_OUR_NAMES.get(field, field)}", Reason.REFUSED_BY_PROVIDER)
