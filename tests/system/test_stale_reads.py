"""Every endpoint that may be stale works on a real replica, which refuses writes."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from chassis.run.service import Service
from chassis.run.testing import bearer
from chassis.storage.postgres import Database
from chassis.storage.postgres_store import PostgresStore
from chassis.storage.replica import Replica
from chassis.web.api import METHODS
from chassis.web.endpoint import Endpoint
from launcher.manifests import WITH_POSTGRES
from tests.chassis.storage.test_replica import counted
from tests.conftest import server_url
from tests.installation import until
from tests.standby import Standby

LAG_SECONDS = 3_600

QUERIES = {"/users/search": "?q=anna"}


@pytest.fixture(params=WITH_POSTGRES)
def on_replica(request: pytest.FixtureRequest, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    service: Service = request.getfixturevalue(request.param)
    store = service.store
    assert isinstance(store, PostgresStore)
    replica = Replica(
        Database(standby.url(store.url)), store, server_url("REDIS"), service.name, max_lag_seconds=LAG_SECONDS
    )
    monkeypatch.setattr(store, "_replica", replica)
    standby.catch_up()
    yield service
    replica.close()


def test_reads_that_may_be_stale_are_served_by_a_replica(
    on_replica: Service, client: Callable[[Service], FlaskClient]
) -> None:
    person = uuid.uuid4()
    headers = bearer(on_replica, person, "admin")
    paths = [url.replace("<uuid:user_id>", str(person)) + QUERIES.get(url, "") for url in stale(on_replica)]
    assert paths
    for path in paths:

        def is_served_by_the_replica(path: str = path) -> bool:
            before = counted("replica")
            response = client(on_replica).get(path, headers=headers)
            assert response.status_code in (200, 404), response.text
            return counted("replica") > before

        assert until(is_served_by_the_replica), path


def stale(service: Service) -> list[str]:
    return [
        url
        for url, resource in service.routes().items()
        for method in METHODS
        if (function := getattr(resource, method, None)) and Endpoint.of(function, url).may_be_stale
    ]
