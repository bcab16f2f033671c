"""Stand-ins that speak the real protocols: Twilio, a browser with its push service, and users."""

import base64
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask, Response, jsonify, request


@dataclass
class TwilioStandIn:
    """https://www.twilio.com/docs/messaging/api/message-resource"""

    account: str = "AC00000000000000000000000000000001"
    token: str = "secret"
    messages: list[dict[str, Any]] = field(default_factory=list)
    mode: str = "ok"
    """ok, refuse (21211), busy (429), broken (500, not taken), or lost (taken, then 500)."""
    searches: int = 0

    def app(self) -> Flask:
        app = Flask("twilio")

        @app.post("/2010-04-01/Accounts/<account>/Messages.json")
        def create(account: str) -> Any:
            if (denied := self._denied(account)) is not None:
                return denied
            match self.mode:
                case "refuse":
                    return _error(400, 21211, "The 'To' number is not a valid phone number.")
                case "busy":
                    return _error(429, 20429, "Too Many Requests")
                case "broken":
                    return _error(500, 20500, "Internal Server Error")
            message = self._keep(request.form)
            return _error(500, 20500, "Internal Server Error") if self.mode == "lost" else (jsonify(message), 201)

        @app.get("/2010-04-01/Accounts/<account>/Messages.json")
        def listed(account: str) -> Any:
            self.searches += 1
            if (denied := self._denied(account)) is not None:
                return denied
            found = [each for each in reversed(self.messages) if each["to"] == request.args["To"]]
            return jsonify({"messages": found, "next_page_uri": None, "page": 0, "page_size": 50})

        return app

    def url(self, address: str) -> str:
        return f"twilio+http://{self.account}:{self.token}@{address.removeprefix('http://')}/+15005550006"

    def _denied(self, account: str) -> Any:
        credentials = request.authorization
        if (
            credentials is None
            or (credentials.username, credentials.password) != (self.account, self.token)
            or account != self.account
        ):
            return _error(401, 20003, "Authenticate")
        return None

    def _keep(self, form: Any) -> dict[str, Any]:
        message = {
            "sid": f"SM{uuid4().hex}",
            "to": form["To"],
            "from": form["From"],
            "body": form["Body"],
            "status": "queued",
            "date_created": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000"),
            "date_sent": None,
        }
        self.messages.append(message)
        return message


def _error(status: int, code: int, message: str) -> tuple[Response, int]:
    return jsonify({"status": status, "code": code, "message": message, "more_info": ""}), status


class Browser:
    """A browser's push subscription and its private key."""

    def __init__(self, address: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)
        self.path = f"/push/{uuid4().hex}"
        self.endpoint = address + self.path

    def subscription(self) -> dict[str, Any]:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "endpoint": self.endpoint,
            "expirationTime": None,
            "keys": {"p256dh": _base64(point), "auth": _base64(self.auth)},
        }

    def read(self, body: bytes) -> dict[str, Any]:
        return dict(
            json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"))
        )


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class PushService:
    """A push service (RFC 8030) that authenticates the shop by VAPID (RFC 8292)."""

    public_key: str = ""
    status: dict[str, int] = field(default_factory=dict)
    """The response status by path, instead of 201."""
    taken: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)

    def app(self) -> Flask:
        app = Flask("push")

        @app.post("/push/<name>")
        def push(name: str) -> Response:
            if not self._is_the_shop():
                return Response("", 403)
            status = self.status.get(request.path, 201)
            if status == 301:
                return Response("", 301, {"Location": "http://127.0.0.1:1/inside"})
            if status == 201:
                self.taken.append((request.path, request.get_data(), dict(request.headers)))
            return Response("", status, {"Location": f"/message/{name}"})

        return app

    def _is_the_shop(self) -> bool:
        scheme, _, parts = request.headers["Authorization"].partition(" ")
        shown = dict(part.strip().split("=", 1) for part in parts.split(","))
        if scheme != "vapid" or shown["k"] != self.public_key:
            return False
        point = base64.urlsafe_b64decode(shown["k"] + "==")
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        claims = jwt.decode(shown["t"], key, algorithms=["ES256"], audience=request.host_url.rstrip("/"))
        return bool(claims["sub"].startswith("mailto:"))


class Requests:
    """The part of users that returns the tokens of requests."""

    def __init__(self) -> None:
        self.requests: dict[UUID, dict[str, str]] = {}
        self.keys: list[str | None] = []
        self.is_available = True

    def app(self) -> Flask:
        app = Flask("users")

        @app.get("/internal/requests/<uuid:request_id>")
        def get(request_id: UUID) -> Any:
            self.keys.append(request.headers.get("X-API-Key"))
            if not self.is_available:
                return Response("", 500)
            return jsonify(self.requests[request_id]) if request_id in self.requests else Response("{}", 404)

        return app
