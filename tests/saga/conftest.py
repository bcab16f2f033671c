"""The whole platform in one process: five services on their real stores, with the real bank and the real mailbox."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from chassis.run.service import Service
from chassis.run.testing import System, bearer
from tests.conftest import a_product, app_of


@dataclass
class Platform:
    """The services by name, and the System that moves their messages."""

    services: dict[str, Service]
    system: System

    def request(self, service: str, method: str, path: str, caller: dict[str, str], json: Any = None) -> Any:
        headers = caller | ({"Idempotency-Key": uuid4().hex} if method == "POST" else {})
        return app_of(self.services[service]).test_client().open(path, method=method, headers=headers, json=json)

    def call(self, service: str, method: str, path: str, caller: dict[str, str], json: Any = None) -> Any:
        """The JSON of a successful response, None if it is empty. Raises AssertionError for an error."""
        response = self.request(service, method, path, caller, json)
        assert response.status_code < 300, response.text
        return response.json if response.data else None

    def bearer(self, user_id: UUID, *roles: str) -> dict[str, str]:
        return bearer(self.services["users"], user_id, *roles)

    def product(self, stock_quantity: int = 5, price: str = "12.50") -> str:
        """Create a product; returns its id."""
        body = a_product(stock_quantity=stock_quantity, price=price)
        product_id: str = self.call("products", "POST", "/products/", self.bearer(uuid4(), "staff"), body)["id"]
        return product_id

    def stock(self, product_id: str) -> int:
        quantity: int = self.call("products", "GET", f"/products/{product_id}", {})["stock_quantity"]
        return quantity


@dataclass
class Customer:
    platform: Platform
    id: UUID
    email: str
    headers: dict[str, str]

    def order(self, *lines: tuple[str, int], payment_method: str = "tok_success") -> str:
        """Place an order; returns its id."""
        items = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in lines]
        body = {"lines": items, "payment_method": payment_method}
        placed: str = self.platform.call("orders", "POST", "/orders/", self.headers, body)["id"]
        return placed

    def get(self, order_id: str) -> Any:
        return self.platform.call("orders", "GET", f"/orders/{order_id}", self.headers)

    def payments(self) -> list[Any]:
        listed: list[Any] = self.platform.call("payments", "GET", f"/payments/user/{self.id}", self.headers)["items"]
        return listed


@pytest.fixture
def platform(users: Service, products: Service, orders: Service, payments: Service, notifications: Service) -> Platform:
    services = [users, products, orders, payments, notifications]
    return Platform({service.name: service for service in services}, System(services))


@pytest.fixture
def customer(platform: Platform) -> Callable[[], Customer]:
    """Register a customer through the API."""

    def register() -> Customer:
        name = uuid4().hex[:10]
        body = {
            "email": f"{name}@example.com",
            "username": name,
            "password": "correct horse battery",
            "first_name": "Leila",
            "last_name": "Haddad",
        }
        user_id = UUID(platform.call("users", "POST", "/users/register", {}, body)["id"])
        login = {"email": body["email"], "password": body["password"]}
        token = platform.call("users", "POST", "/users/login", {}, login)["access_token"]
        return Customer(platform, user_id, body["email"], {"Authorization": f"Bearer {token}"})

    return register
