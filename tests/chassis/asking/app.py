"""A service with one route that asks a upstream and one that does not, run as a process of its own by the tests."""

from chassis.base.settings import Settings
from chassis.clients import Client, Policy
from chassis.run.service import Service
from chassis.security.auth import ANYONE
from chassis.web.api import Resource, View, endpoint

upstream = Client("upstream", Policy(try_seconds=1, timeout_seconds=3, open_seconds=1))


class Answer(View):
    text: str


class Asking(Resource):
    @endpoint(allow=ANYONE, before=lambda: upstream.get("/", {}, Settings.current()))
    def get(self, prepared: object) -> Answer:
        """What the upstream says."""
        return Answer(text=str(prepared))


class Own(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> Answer:
        """What takes nobody else."""
        return Answer(text="here")


service = Service("asking", Settings, lambda: {"/asking": Asking, "/own": Own})
