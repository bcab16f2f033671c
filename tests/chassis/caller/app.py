"""A service with one route that calls an upstream and one that does not; tests run it as a process."""

from chassis.base.settings import Settings
from chassis.clients import Client, Policy
from chassis.run.service import Service
from chassis.security.auth import ANYONE
from chassis.web.api import Resource, View, endpoint

upstream = Client("upstream", Policy(try_seconds=1, timeout_seconds=3, open_seconds=1))


class TextView(View):
    text: str


class Calling(Resource):
    @endpoint(allow=ANYONE, before=lambda: upstream.get("/", {}, Settings.current()))
    def get(self, prepared: object) -> TextView:
        """The upstream's response."""
        return TextView(text=str(prepared))


class Own(Resource):
    @endpoint(allow=ANYONE)
    def get(self) -> TextView:
        """A response without any upstream."""
        return TextView(text="here")


service = Service("caller", Settings, lambda: {"/calling": Calling, "/own": Own})
