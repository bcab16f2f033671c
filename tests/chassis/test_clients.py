"""Calls to a neighbour that is well, away, slow, failing, refusing or talking nonsense."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, request

from chassis.clients import BadAnswer, Client, NotThere
from chassis.problems import Unavailable
from chassis.settings import Settings
from tests.conftest import free_port


@pytest.fixture(scope="module")
def neighbour(serve: Callable[[Any], str]) -> Iterator[str]:
    """A neighbour with one path for each of its moods."""
    app = Flask("neighbour")
    released = threading.Event()

    @app.get("/well")
    def well() -> dict[str, str | None]:
        return {"key": request.headers.get("X-API-Key"), "asked": request.args.get("q")}

    @app.get("/failing")
    def failing() -> Response:
        return Response("oh no", 500)

    @app.get("/refusing")
    def refusing() -> Response:
        return Response("{}", 403)

    @app.get("/nonsense")
    def nonsense() -> Response:
        return Response("<html>")

    @app.get("/slow")
    def slow() -> Response:
        released.wait(30)
        return Response("{}")

    yield serve(app)
    released.set()


def ask(path: str, address: str) -> Any:
    return Client("neighbour").get(path, {"q": "1"}, Settings(services={"neighbour": address}, api_key="mine"))


def test_a_call_shows_our_key_and_gives_the_answer(neighbour: str) -> None:
    assert ask("/well", neighbour) == {"key": "mine", "asked": "1"}


@pytest.mark.parametrize(
    ("path", "error"),
    [("/failing", Unavailable), ("/refusing", BadAnswer), ("/nonsense", BadAnswer), ("/not-there", NotThere)],
)
def test_a_bad_answer_is_an_honest_problem(neighbour: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(path, neighbour)


def test_a_slow_neighbour_is_not_waited_for(neighbour: str) -> None:
    with pytest.raises(Unavailable):
        ask("/slow", neighbour)


def test_a_neighbour_that_is_away_or_unknown_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        ask("/well", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="no known address"):
        Client("stranger").get("/", {}, Settings())
