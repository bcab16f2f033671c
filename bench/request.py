"""The chassis's overhead for a read, against bare Flask."""

import os
import uuid
from functools import partial

from flask import Flask

from bench._measure import measure, show
from chassis.base.settings import Settings
from chassis.run import web_app
from chassis.run.service import Service
from chassis.security.auth import ANYONE
from chassis.web.api import Resource, View, endpoint

CALLS = 4_000


class Greeting(View):
    text: str


class Hello(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Greeting:
        return Greeting(text="hello")


def main() -> None:
    bare = Flask("bare")
    bare.add_url_rule("/hello", view_func=lambda: {"text": "hello"})
    Settings.use(
        database_url=os.environ["SOUK_TEST_POSTGRES_URL"], jwt_keys={"bench": uuid.uuid4().hex}, log_level="warning"
    )
    ours = web_app.build(Service("bench", Settings, lambda: {"/hello": Hello}))
    series = []
    for name, app in {"bare Flask": bare, "chassis": ours}.items():
        get = partial(app.test_client().get, "/hello")
        measure("warm-up", get, CALLS // 10)
        series.append(measure(name, get, CALLS))
    show("A read, in one process without a socket", series)


if __name__ == "__main__":
    main()
