"""The merchant's dashboard. Amounts are in minor units; the password is the merchant's key."""

import hmac
from collections.abc import Callable

from flask import Flask, Response, abort, redirect, render_template_string, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from devservers.bank import rules
from devservers.bank.fields import MAX_AMOUNT
from devservers.bank.ledger import Ledger, Row
from devservers.standin import whole_number

PATH = "/dashboard"
SHOWN = 50

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox bank: dashboard</title>
<h1>Charges</h1>
<p>Amounts in minor units. Without one, an action takes all there is.</p>
<table>
<tr><th>Charge<th>Reference<th>Status<th>Amount<th>Captured<th>Refunded<th>Disputed<th>Charged back<th>Action
{% for charge in charges %}
<tr><td>{{ charge.id }}<td>{{ charge.reference }}<td>{{ charge.status }}<td>{{ charge.amount }} {{ charge.currency }}
<td>{{ charge.amount_captured }}<td>{{ charge.amount_refunded }}<td>{{ charge.amount_disputed }}<td>{{ charge.amount_charged_back }}
<td><form method="post" action="{{ path }}/{{ charge.id }}"><input name="amount" size="8" aria-label="amount">
{% for action in actions %}<button name="action" value="{{ action }}">{{ action }}</button> {% endfor %}</form>
{% endfor %}
</table>
"""

Action = Callable[[Ledger, str, int | None], Row]


def _refund(ledger: Ledger, charge_id: str, amount: int | None) -> Row:
    charge = rules.find(ledger, charge_id, "captured")
    return rules.refund(ledger, charge_id, amount or rules.left(charge), "", is_news=True)


ACTIONS: dict[str, Action] = {
    "refund": _refund,
    "return": lambda ledger, charge_id, _: rules.return_refund(ledger, charge_id),
    "capture": lambda ledger, charge_id, amount: rules.capture(ledger, charge_id, amount, is_news=True),
    "void": lambda ledger, charge_id, _: rules.void(ledger, charge_id, is_news=True),
    "dispute": rules.dispute,
    "win": lambda ledger, charge_id, _: rules.close_dispute(ledger, charge_id, is_won=True),
    "lose": lambda ledger, charge_id, _: rules.close_dispute(ledger, charge_id, is_won=False),
    "reverse": lambda ledger, charge_id, _: rules.reverse_chargeback(ledger, charge_id),
    "fraud": lambda ledger, charge_id, _: rules.warn_of_fraud(ledger, charge_id),
}


def require(key: str) -> None:
    given = request.authorization.password if request.authorization is not None else None
    if not hmac.compare_digest((given or "").encode(), key.encode()):
        raise Unauthorized("The password is the merchant's key.", www_authenticate=WWWAuthenticate("basic"))


def mount(app: Flask, ledger: Ledger) -> None:
    @app.get(PATH)
    def show_dashboard() -> str:
        return render_template_string(PAGE, charges=ledger.newest(SHOWN), actions=ACTIONS, path=PATH)

    @app.post(f"{PATH}/<charge_id>")
    def act(charge_id: str) -> Response:
        action = ACTIONS.get(request.form.get("action", ""))
        if action is None:
            abort(422, f"The action is one of {', '.join(ACTIONS)}.")
        typed = request.form.get("amount")
        amount = whole_number(request.form, "amount", 0, range(1, MAX_AMOUNT + 1)) if typed else None
        with ledger.transaction():
            action(ledger, charge_id, amount)
        return redirect(PATH, 303)  # type: ignore[return-value]
