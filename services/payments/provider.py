"""The seam to payment providers: what we ask of one, how it may answer, and the adapter to the sandbox provider.

A provider that is slow or away leaves us not knowing. That is resolved by asking again with the same idempotency key,
never with a new one: a payment's id is the key of its charge, so however often it is asked for, there is one.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote
from uuid import UUID

import urllib3
from pydantic import BaseModel, Field, ValidationError
from urllib3.exceptions import HTTPError

from services.payments.models import Status
from services.payments.settings import Settings

CONNECT_TIMEOUT_SECONDS = 2.0

_REFUSALS = frozenset({400, 402, 404, 409, 422})
"""Statuses by which the sandbox says that the same request will never do. 401 is not one: a key is put right some day."""

_OUR_NAMES = {"source": "payment_method"}

M = TypeVar("M", bound=BaseModel)

_pool = urllib3.PoolManager(maxsize=16, retries=False)


class ProviderUnavailable(Exception):
    """Whether it was done is unknown: ask again, with the same key."""


class Refused(Exception):
    """The provider understood and will not do it. `reason` is a short word for programs and people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Charge:
    """What a provider says of a charge; `reference` is its id there."""

    reference: str | None
    status: Status
    decline_reason: str | None = None


class Provider(Protocol):
    """Every method raises ProviderUnavailable; those that move money raise Refused."""

    name: str

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        """The payment's one charge, `amount` in minor units; a charge that is declined is an answer, too."""
        ...

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        """Take what was authorised, whole."""
        ...

    def void(self, payment_id: UUID, reference: str) -> Charge:
        """Let go what was authorised."""
        ...

    def find(self, payment_id: UUID) -> Charge | None:
        """The payment's charge as it is now, None when there is none."""
        ...


class SandboxProvider:
    """The bank of development and tests (`services.payments.sandbox`) over HTTP."""

    name = "sandbox"

    def __init__(self, settings: Settings) -> None:
        self._url = settings.sandbox_url.rstrip("/")
        self._key = settings.sandbox_key.get_secret_value()
        self._timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=settings.provider_timeout_seconds)

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        terms = {"amount": amount, "currency": currency, "source": method, "capture": capture}
        return self._post("/charges", str(payment_id), {**terms, "reference": str(payment_id)})

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        return self._post(f"/charges/{quote(reference, safe='')}/capture", f"{payment_id}:capture")

    def void(self, payment_id: UUID, reference: str) -> Charge:
        return self._post(f"/charges/{quote(reference, safe='')}/void", f"{payment_id}:void")

    def find(self, payment_id: UUID) -> Charge | None:
        found = _understood(_Page, self._request("GET", f"/charges?reference={payment_id}", {}))
        return found.items[0].charge() if found.items else None

    def _post(self, path: str, key: str, body: dict[str, Any] | None = None) -> Charge:
        return _understood(_Charge, self._request("POST", path, {"Idempotency-Key": key}, body)).charge()

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> urllib3.BaseHTTPResponse:
        headers = {**headers, "Authorization": f"Bearer {self._key}"}
        try:
            answer = _pool.request(method, self._url + path, json=body, headers=headers, timeout=self._timeout)
        except HTTPError as error:
            raise ProviderUnavailable(f"The sandbox provider does not answer: {type(error).__name__}.") from error
        if answer.status in _REFUSALS:
            raise Refused(_reason(answer))
        if answer.status not in (200, 201):
            raise ProviderUnavailable(f"The sandbox provider answers {answer.status}.")
        return answer


class _Charge(BaseModel):
    id: str = Field(max_length=255)
    status: Literal["authorized", "captured", "declined", "voided"]
    decline_reason: str | None

    def charge(self) -> Charge:
        return Charge(self.id, Status(self.status), self.decline_reason and self.decline_reason[:100])


class _Page(BaseModel):
    items: list[_Charge]


class _Problem(BaseModel):
    field: str = Field(max_length=50)


def _understood(shape: type[M], answer: urllib3.BaseHTTPResponse) -> M:
    try:
        return shape.model_validate_json(answer.data)
    except ValidationError as error:
        raise ProviderUnavailable("The sandbox provider does not answer in its own words.") from error


def _reason(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        field = _Problem.model_validate_json(answer.data).field
    except ValidationError:
        return "refused_by_provider"
    return f"invalid_{_OUR_NAMES.get(field, field)}"


def named(name: str) -> Provider:
    """The provider that a payment was begun with, which is the only one that can end it."""
    return {SandboxProvider.name: SandboxProvider}[name](Settings.current())


def default() -> str:
    """Name of the provider with which new payments are begun."""
    return SandboxProvider.name
