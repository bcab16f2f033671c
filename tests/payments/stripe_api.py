"""A server that speaks Stripe's API as far as we use it: PaymentIntents with manual capture, refunds, search, idempotency keys.

Written from Stripe's reference (https://docs.stripe.com/api). The payment method decides how a charge ends, as Stripe's own test
methods do, and some of our own. Like Stripe, it replays the first response to an idempotency key, also a 500.
"""

import json
import re
import threading
import time
from secrets import token_hex

from flask import Flask, Response, request

KEY = "sk_test_key"
DECLINES = {
    "pm_card_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
}
PENDING, ERROR, LOST = "pm_card_authenticationRequired", "pm_error", "pm_lost"
CAPTURE_REFUSED, REFUND_REFUSED, REFUND_PENDING = "pm_capture_refused", "pm_refund_refused", "pm_card_pendingRefund"
METHODS = {"pm_card_visa", PENDING, ERROR, LOST, CAPTURE_REFUSED, REFUND_REFUSED, REFUND_PENDING, *DECLINES}


class Refusal(Exception):
    def __init__(self, status, **error):
        super().__init__(error)
        self.response = (status, {"error": error})


class StripeAPI:
    """One account's PaymentIntents and refunds; `app` serves them."""

    def __init__(self):
        self.intents, self.refunds, self.disputes, self._responses = {}, {}, {}, {}
        self._lock = threading.Lock()
        self.app = Flask(__name__)
        self.app.add_url_rule("/v1/<path:path>", view_func=self._serve, methods=["GET", "POST"])

    def _serve(self, path):
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _response(401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key"}})
        with self._lock:
            key, sent = request.headers.get("Idempotency-Key"), (path, sorted(request.form.items()))
            if request.method == "POST" and key in self._responses:
                first_request, response = self._responses[key]
                error = {"type": "idempotency_error", "message": "Keys can only be used with the same parameters"}
                return _response(*(response if first_request == sent else (400, {"error": error})))
            try:
                response = self._handle(request.method, path.split("/"), request.values)
            except Refusal as refusal:
                response = refusal.response
            if request.method == "POST":
                self._responses[key] = (sent, response)
            return _response(*response)

    def move(self, action, intent_id, amount):
        """In the dashboard, or by the customer's bank: a refund comes back, a lost dispute is reversed."""
        intent = self.intents[intent_id]
        if action == "capture":
            self._capture(intent, amount)
        elif action == "refund":
            self._refund(intent, amount, {})
        elif action == "return":
            last = [refund for refund in self.refunds.values() if refund["payment_intent"] == intent_id][-1]
            last |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
        elif action == "dispute":
            self._dispute(intent_id, amount)
        else:
            for dispute in self.disputes.values():
                if dispute["payment_intent"] == intent_id:
                    dispute["status"] = {"win": "won", "lose": "lost", "reverse": "won"}[action]

    def _dispute(self, intent_id, amount):
        self.intents[intent_id]["latest_charge"]["disputed"] = True
        terms = {"amount": amount, "payment_intent": intent_id, "status": "needs_response"}
        dispute = {"id": f"dp_{token_hex(12)}", "object": "dispute", **terms}
        self.disputes[dispute["id"]] = dispute

    def _handle(self, method, path, sent):
        match method, path:
            case "POST", ["payment_intents"]:
                return self._create(sent)
            case "GET", ["payment_intents", "search"]:
                (payment_id,) = re.fullmatch(r'metadata\["payment_id"\]:"([^"]+)"', sent["query"]).groups()
                found = [i for i in self.intents.values() if i["metadata"].get("payment_id") == payment_id]
                found = [self._expanded(intent, sent) for intent in found]
                return 200, {"object": "search_result", "data": found, "has_more": False, "url": "/v1/x"}
            case "GET", ["payment_intents"]:
                since, until = int(sent["created[gte]"]), int(sent["created[lt]"])
                created = [i for i in self.intents.values() if since <= i["created"] < until]
                return self._list([self._expanded(intent, sent) for intent in created], sent)
            case "GET", ["payment_intents", intent_id]:
                return 200, self._expanded(self._find(intent_id), sent)
            case "POST", ["payment_intents", intent_id, "capture"]:
                return self._capture(self._find(intent_id), int(sent.get("amount_to_capture", 0)))
            case "POST", ["payment_intents", intent_id, "cancel"]:
                return self._cancel(self._find(intent_id))
            case "POST", ["refunds"]:
                return self._refund(self._find(sent["payment_intent"]), int(sent["amount"]), _metadata(sent))
            case "GET", ["refunds" | "disputes" as kind]:
                listed = getattr(self, kind).values()
                return self._list([each for each in listed if each["payment_intent"] == sent["payment_intent"]], sent)
            case "GET", ["charges", charge_id]:
                charges = (intent["latest_charge"] for intent in self.intents.values())
                found = [charge for charge in charges if charge is not None and charge["id"] == charge_id]
                if not found:
                    raise Refusal(404, type="invalid_request_error", code="resource_missing", param="id")
                return 200, found[0]
        raise Refusal(404, type="invalid_request_error", message="Unrecognized request URL")

    def _create(self, sent):
        method, amount = sent["payment_method"], int(sent["amount"])
        if method == ERROR:
            raise Refusal(500, type="api_error", message="An unknown error occurred")
        if method not in METHODS:
            raise Refusal(400, type="invalid_request_error", code="resource_missing", param="payment_method")
        if not 1 <= amount <= 99_999_999:
            raise Refusal(400, type="invalid_request_error", code="amount_too_small", param="amount")
        intent = {
            "id": f"pi_{token_hex(12)}",
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": 0,
            "amount_received": 0,
            "currency": sent["currency"],
            "capture_method": sent["capture_method"],
            "created": int(time.time()),
            "metadata": _metadata(sent),
            "last_payment_error": None,
            "next_action": None,
            "latest_charge": None,
            "payment_method": method,
        }
        self.intents[intent["id"]] = intent
        if method in DECLINES:
            decline = {"type": "card_error", "code": "card_declined", "decline_code": DECLINES[method]}
            intent |= {"status": "requires_payment_method", "last_payment_error": decline}
            raise Refusal(402, **decline, message="Your card was declined.", payment_intent=intent)
        if method == PENDING:
            page = {"type": "redirect_to_url", "redirect_to_url": {"url": f"https://hooks.stripe.com/{intent['id']}"}}
            intent |= {"status": "requires_action", "next_action": page}
        else:
            self.confirm(intent["id"])
        if method == LOST:
            raise Refusal(500, type="api_error", message="Done, but the response was lost")
        return 200, intent

    def confirm(self, intent_id):
        """The customer confirmed."""
        intent = self.intents[intent_id]
        is_manual = intent["capture_method"] == "manual"
        status, field = ("requires_capture", "amount_capturable") if is_manual else ("succeeded", "amount_received")
        terms = {"payment_intent": intent_id, "amount_refunded": 0, "disputed": False}
        charge = {"id": f"ch_{token_hex(12)}", "object": "charge", **terms}
        intent |= {"status": status, field: intent["amount"], "next_action": None, "latest_charge": charge}

    def _capture(self, intent, amount):
        if intent["status"] != "requires_capture" or intent["payment_method"] == CAPTURE_REFUSED:
            raise _unexpected(intent)
        received = amount or intent["amount"]
        return 200, intent.update(status="succeeded", amount_received=received, amount_capturable=0) or intent

    def _cancel(self, intent):
        if intent["status"] in ("succeeded", "canceled"):
            raise _unexpected(intent)
        return 200, intent.update(status="canceled", amount_capturable=0, next_action=None) or intent

    def _refund(self, intent, amount, metadata):
        charge = intent["latest_charge"] or {"amount_refunded": 0}
        left = intent["amount_received"] - charge["amount_refunded"]
        if amount > left or intent["payment_method"] == REFUND_REFUSED:
            raise Refusal(400, type="invalid_request_error", code="charge_already_refunded")
        charge["amount_refunded"] += amount
        status = "pending" if intent["payment_method"] == REFUND_PENDING else "succeeded"
        terms = {"amount": amount, "payment_intent": intent["id"], "status": status, "metadata": metadata}
        refund = {"id": f"re_{token_hex(12)}", "object": "refund", **terms}
        self.refunds[refund["id"]] = refund
        if intent["payment_method"] == LOST:
            raise Refusal(500, type="api_error", message="Done, but the response was lost")
        return 200, refund

    def _find(self, intent_id):
        if intent_id not in self.intents:
            raise Refusal(404, type="invalid_request_error", code="resource_missing", param="intent")
        return self.intents[intent_id]

    def _expanded(self, intent, sent):
        charge = intent["latest_charge"]
        if charge is None or not any("latest_charge.refunds" in path for path in sent.to_dict().values()):
            return intent
        refunds = [refund for refund in self.refunds.values() if refund["payment_intent"] == intent["id"]]
        listed = {"object": "list", "data": refunds[:10], "has_more": len(refunds) > 10, "url": "/v1/refunds"}
        return {**intent, "latest_charge": {**charge, "refunds": listed}}

    def _list(self, items, sent):
        """Pages of two, to catch a caller that reads only the first."""
        ids = [item["id"] for item in items]
        start = ids.index(sent["starting_after"]) + 1 if "starting_after" in sent else 0
        page = items[start : start + 2]
        return 200, {"object": "list", "data": page, "has_more": start + 2 < len(items), "url": request.path}


def _metadata(sent):
    return {name[9:-1]: value for name, value in sent.items() if name.startswith("metadata[")}


def _unexpected(intent):
    message = f"This PaymentIntent has a status of {intent['status']}."
    return Refusal(400, type="invalid_request_error", code="payment_intent_unexpected_state", message=message)


def _response(status, body):
    return Response(json.dumps(body), status, content_type="application/json")
