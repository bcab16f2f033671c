"""Gives our Consul its policies, tokens and intentions: `python -m launcher.consul_acl FILE`.

Runs beside every start of Consul, which may have lost its data. Standard library only.
"""

import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.05

DESCRIPTION = "From the services' manifests"
"""Of the intentions that are ours to remove. What an operator decides about two services stays."""


class Acl:
    def __init__(self, url: str, management: str) -> None:
        self._url, self._management = url, management

    def ensure(self, name: str, token: str, rules: str) -> None:
        """A policy, and the token that has it."""
        known = {policy["Name"]: policy["ID"] for policy in self._request("GET", "/v1/acl/policies")}
        path = f"/v1/acl/policy/{known[name]}" if name in known else "/v1/acl/policy"
        self._request("PUT", path, {"Name": name, "Rules": rules})
        if not self._is_known(token):
            self._request("PUT", "/v1/acl/token", {"SecretID": token, "Policies": [{"Name": name}]})

    def intend(self, wanted: Sequence[Sequence[str]]) -> None:
        """Pairs of caller and service that a mesh lets pass."""
        path = "/v1/connect/intentions"
        found = {(each["SourceName"], each["DestinationName"]): each for each in self._request("GET", path) or []}
        for pair, intention in found.items():
            if [*pair] not in wanted and intention["Description"] == DESCRIPTION:
                self._request("DELETE", f"{path}/{intention['ID']}")
        for caller, service in wanted:
            if (caller, service) not in found:
                names = {"SourceName": caller, "DestinationName": service}
                self._request("POST", path, {**names, "Action": "allow", "Description": DESCRIPTION})

    def set_agents(self, token: str) -> None:
        """Makes the agent register its node at once."""
        self._request("PUT", "/v1/agent/token/agent", {"Token": token})

    def _is_known(self, token: str) -> bool:
        try:
            self._request("GET", "/v1/acl/token/self", token=token)
        except OSError:
            return False
        return True

    def _request(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Consul-Token": token or self._management}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=5) as response:
            content = response.read()
            return json.loads(content) if content else None


def main(path: str) -> None:
    wanted = json.loads(Path(path).read_text())
    acl = Acl(wanted["url"], wanted["management"])
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            for name, (token, rules) in wanted["tokens"].items():
                acl.ensure(name, token, rules)
            if "intentions" in wanted:
                acl.intend(wanted["intentions"])
            acl.set_agents(wanted["tokens"]["agent"][0])
            return
        except OSError as error:  # without a leader yet
            if time.monotonic() > deadline:
                sys.exit(f"Consul did not accept its tokens: {error}")
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
