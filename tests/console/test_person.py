"""The person of a page, whose parts are read by several threads."""

import base64
import json
import sys
import threading
from contextvars import copy_context
from typing import Any

from services.console import person
from services.console.app import create_app
from services.console.settings import ConsoleSettings
from tests.console.conftest import KEY

ROUNDS = 3_000


def tokens(user_id: str) -> dict[str, Any]:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": user_id, "roles": []}).encode()).decode()
    return {"access_token": f"head.{claims}.seal", "refresh_token": "fresh", "expires_in": 900}


def test_one_thread_of_a_page_may_renew_it_while_others_read() -> None:
    app = create_app(ConsoleSettings.use(session_keys=[KEY]))
    seen: list[str] = []

    def read() -> None:
        seen.extend(person.required().id for _ in range(ROUNDS))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with app.test_request_context("/"):
            person.keep(tokens("0"), "Leila")
            readers = [threading.Thread(target=copy_context().run, args=[read]) for _ in range(2)]
            for each in readers:
                each.start()
            for number in range(ROUNDS):
                person.keep(tokens(str(number)), "Leila")
                assert person.required().id == str(number)
            for each in readers:
                each.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(seen) == len(readers) * ROUNDS
