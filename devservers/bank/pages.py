"""Pages on which customers confirm charges, as with 3-D Secure. The charge's random id authorises them."""

from flask import Flask, render_template_string, request

from devservers.bank import rules
from devservers.bank.ledger import Ledger

PATH = "/pay/"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox bank</title>
<h1>Sandbox bank</h1>
<p>{{ amount }} {{ charge.currency }}: this payment is {{ charge.status }}.</p>
{% if charge.status == "pending" %}
<form method="post"><button name="decision" value="confirm">Pay</button> <button name="decision" value="refuse">Do not pay</button></form>
{% else %}<p>You can close this page.</p>
{% endif %}
"""


def mount(app: Flask, ledger: Ledger) -> None:
    def render(charge: dict[str, object]) -> str:
        amount = f"{charge['amount']:03}"
        return render_template_string(PAGE, charge=charge, amount=f"{amount[:-2]}.{amount[-2:]}")

    @app.get(f"{PATH}<charge_id>")
    def page(charge_id: str) -> str:
        return render(rules.find(ledger, charge_id))

    @app.post(f"{PATH}<charge_id>")
    def decide(charge_id: str) -> str:
        with ledger.transaction():
            return render(rules.confirm(ledger, charge_id, request.form.get("decision") == "confirm"))
