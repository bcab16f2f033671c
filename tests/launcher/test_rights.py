"""What a program may do on the shared servers: its own work, and nothing in another's place."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import amqp
import pymongo
import pytest
import redis
from amqp.exceptions import AccessRefused, NotFound
from pymongo.errors import OperationFailure
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Publisher
from launcher.manifests import ROLES, SERVICES
from launcher.stack import Stack
from tests.broker import an_envelope
from tests.installation import servers_alone

SERVERS = ("redis", "mongo", "consul", "rabbitmq")
WEBS = [program for program in ROLES if program.endswith("-web")]
CACHING = [f"{name}-{role}" for name, manifest in SERVICES.items() for role in manifest.caches]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with servers_alone(tmp_path_factory.mktemp("rights"), *SERVERS) as running:
        yield running


def redis_of(stack: Stack, program: str, setting: str = "SOUK_REDIS_URL") -> redis.Redis:
    return redis.Redis.from_url(stack.credentials(program)[setting])


def test_a_stranger_cannot_enter_redis(stack):
    for name in ("redis", "redis-cache"):
        with pytest.raises(AuthenticationError):
            redis.Redis(port=stack.installation.ports[name], retry=Retry(NoBackoff(), 0)).ping()


@pytest.mark.parametrize("program", WEBS)
def test_a_web_process_only_reads_whether_a_token_is_revoked(stack, program):
    client = redis_of(stack, program)
    assert not client.exists("souk:revoked:a-token")
    for key in ("ratelimit:login", "souk:messages:orders", "cache:products:lists"):
        with pytest.raises(NoPermissionError):
            client.get(key)
    if not SERVICES[ROLES[program]].redis:
        with pytest.raises(NoPermissionError):
            client.delete("souk:revoked:a-token")
    for command in ("KEYS *", "FLUSHALL", "CONFIG GET *", "ACL LIST", "SCRIPT FLUSH"):
        with pytest.raises(NoPermissionError):
            client.execute_command(command)


@pytest.mark.parametrize("program", sorted(set(ROLES) - {*WEBS, "users-worker"}))
def test_workers_and_sidecars_have_no_user_in_redis(stack, program):
    assert "SOUK_REDIS_URL" not in stack.credentials(program)


def test_only_users_may_revoke_a_token(stack):
    for program in ("users-web", "users-worker"):
        assert redis_of(stack, program).set("souk:revoked:a-token", "", px=1)
        with pytest.raises(NoPermissionError):
            redis_of(stack, program).set("ratelimit:login", "0")


def test_the_edge_counts_requests_and_cannot_unrevoke_a_token(stack):
    client = redis_of(stack, "gateway")
    assert client.eval("return redis.call('INCR', KEYS[1])", 1, "ratelimit:login") == 1
    for command in ("GET souk:revoked:a-token", "EXPIRE souk:revoked:a-token 1"):
        with pytest.raises(NoPermissionError):
            client.execute_command(command)
    with pytest.raises(redis.ResponseError, match="can't access"):
        client.eval("return redis.call('EXPIRE', 'souk:revoked:a-token', 1)", 0)


@pytest.mark.parametrize("program", CACHING)
def test_the_cache_is_open_to_those_who_cache_under_their_own_keys(stack, program):
    client = redis_of(stack, program, "SOUK_CACHE_URL")
    assert client.set(f"cache:{ROLES[program]}:lists", "1")
    with pytest.raises(NoPermissionError):
        client.set("cache:orders:lists", "1")


def test_others_have_no_user_in_the_cache(stack):
    for program in {*ROLES, "gateway", "console-web"} - {*CACHING}:
        assert "SOUK_CACHE_URL" not in stack.credentials(program)


def test_who_measures_redis_reads_no_key(stack):
    for url, password in stack.servers["redis"].monitor.items():
        client = redis.Redis.from_url(url, username="monitor", password=password)
        assert client.info("memory")["used_memory"]
        for command in ("GET ratelimit:login", "EXISTS souk:revoked:a-token", "KEYS *", "CONFIG GET *"):
            with pytest.raises(NoPermissionError):
                client.execute_command(command)


def fill(client: redis.Redis, prefix: str) -> None:
    for number in range(300):
        assert client.set(f"{prefix}:{number}", "x" * 20_000, ex=300)


def test_a_full_cache_evicts_while_limits_and_revocations_stay(stack):
    url = stack.credentials("")
    cache, state = (redis.Redis.from_url(url[name]) for name in ("SOUK_CACHE_URL", "SOUK_REDIS_URL"))
    assert state.set("souk:revoked:kept", "", ex=600)
    for client in (cache, state):
        client.config_set("maxmemory", "3mb")
    fill(cache, "cache:products")
    assert cache.info("stats")["evicted_keys"] > 0
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        fill(state, "ratelimit")
    assert state.exists("souk:revoked:kept")
    for client, megabytes in ((cache, 64), (state, 128)):
        client.flushall()
        client.config_set("maxmemory", f"{megabytes}mb")


def test_a_stranger_cannot_read_mongodb(stack):
    port = stack.installation.ports["mongo"]
    with pymongo.MongoClient("127.0.0.1", port) as client:
        for attempt in (client.list_database_names, lambda: client.products.product.find_one({})):
            with pytest.raises(OperationFailure, match="requires authentication"):
                attempt()
        with pytest.raises(OperationFailure):
            client.admin.command("createUser", "stranger", pwd="p", roles=["root"])


def test_who_measures_consul_changes_nothing(stack):
    url, token = stack.url("consul"), stack.servers["consul"].metrics_token

    def send(method: str, path: str) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        with urllib.request.urlopen(urllib.request.Request(url + path, b"{}", headers, method=method)) as response:
            return str(response.read())

    assert "consul_" in send("GET", "/v1/agent/metrics?format=prometheus")
    assert send("GET", "/v1/catalog/service/orders") == "b'[]'"
    for path in ("/v1/kv/a", "/v1/agent/leave", "/v1/acl/token"):
        with pytest.raises(HTTPError, match="403"):
            send("PUT", path)


def test_a_service_has_its_own_mongodb_database_and_no_other(stack):
    mongo = stack.servers["mongo"]
    mongo.ensure_users(["alpha", "beta"])
    mongo.ensure_users(["alpha", "beta"])
    with pymongo.MongoClient(mongo.database_url("alpha")) as client:
        assert client.alpha.things.insert_one({"what": "a document"}).acknowledged
        with pytest.raises(OperationFailure, match="not authorized"):
            client.beta.things.find_one({})


def consul(stack: Stack, program: str | None, path: str, body: Any = None) -> Any:
    """The JSON response to a program, or to a stranger without a token. Raises HTTPError."""
    token = "" if program is None else stack.credentials(program)["SOUK_CONSUL_TOKEN"]
    data = None if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "PUT"
    request = urllib.request.Request(stack.url("consul") + path, data, {"X-Consul-Token": token}, method=method)
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.loads(response.read() or "null")


def an_entry(service: str, id_: str) -> dict[str, Any]:
    return {"Name": service, "ID": id_, "Address": "127.0.0.1", "Port": 1}


A_FAKE_NODE = {"Node": "fake", "Address": "127.0.0.1", "Service": {"Service": "products", "Port": 1}}
REGISTER, LOOK_UP = "/v1/agent/service/register", "/v1/health/service/"


@pytest.mark.parametrize("program", [None, *sorted({*ROLES, "gateway", "console-web"} - {"products-sidecar"})])
def test_only_the_sidecars_of_products_may_register_products(stack, program):
    with pytest.raises(HTTPError, match="403"):
        consul(stack, program, REGISTER, an_entry("products", "fake"))
    with pytest.raises(HTTPError, match="403"):
        consul(stack, program, "/v1/catalog/register", A_FAKE_NODE)


@pytest.mark.parametrize("service", SERVICES)
def test_a_sidecar_registers_its_service_and_everyone_with_a_token_finds_it(stack, service):
    consul(stack, f"{service}-sidecar", REGISTER, an_entry(service, f"{service}-web"))
    for reader in ("orders-web", "notifications-worker", "gateway", "console-web", ""):
        [found] = consul(stack, reader, LOOK_UP + service)
        assert found["Service"]["ID"] == f"{service}-web"
    assert consul(stack, None, LOOK_UP + service) == []
    with pytest.raises(HTTPError, match="403"):
        consul(stack, None, f"/v1/agent/service/deregister/{service}-web", {})
    consul(stack, f"{service}-sidecar", f"/v1/agent/service/deregister/{service}-web", {})


def test_a_stranger_learns_nothing_from_consul(stack):
    assert consul(stack, None, "/v1/catalog/services") == {}
    assert consul(stack, None, "/v1/catalog/nodes") == []
    for path in ("/v1/agent/self", "/v1/agent/metrics", "/v1/acl/tokens", "/v1/kv/?recurse"):
        with pytest.raises(HTTPError, match=r"403|404"):
            consul(stack, None, path)


def test_a_consul_that_lost_its_data_has_its_tokens_again(stack):
    stack.supervisor.stop(["consul"])
    shutil.rmtree(stack.state.data / "consul")
    stack.supervisor.start_program("consul")
    stack.wait_ready("consul")
    consul(stack, "users-sidecar", REGISTER, an_entry("users", "users-web"))
    assert consul(stack, "gateway", LOOK_UP + "users")


def test_servers_without_support_are_named_with_what_to_use_instead(stack):
    for name, server in stack.servers.items():
        version, line = server.version(), server.outdated()
        assert version
        is_old = tuple(int(number) for number in version.split(".")[:2]) < server.supported
        assert bool(line) == is_old or name == "mongo"
        assert not line or f"or set {server.variable}." in line


BROKERED = [program for program in ROLES if program.endswith(("-worker", "-celery"))]


def channel_of(stack: Stack, program: str) -> Any:
    connection = broker.connect(stack.credentials(program)["SOUK_BROKER_URL"])
    return connection.default_channel


def service_with_queues(name: str) -> bool:
    return bool(SERVICES[name].handles)


@pytest.fixture
def queues(stack: Stack) -> None:
    """The queues of all services, as their workers declare them."""
    for service, manifest in SERVICES.items():
        url = stack.credentials(f"{service}-worker")["SOUK_BROKER_URL"]
        publisher = Publisher(url, service)
        publisher.probe()
        publisher.close()
        if manifest.handles:
            broker.declare(url, service, list(manifest.handles))
        if manifest.has_celery:
            with broker.connect(stack.credentials(f"{service}-celery")["SOUK_BROKER_URL"]) as connection:
                broker.celery_queue(service, True)(connection.default_channel).declare()


def test_a_stranger_cannot_enter_rabbitmq(stack):
    port = stack.installation.ports["rabbitmq"]
    for url in (f"amqp://guest:guest@127.0.0.1:{port}//", f"amqp://orders-worker:x@127.0.0.1:{port}//"):
        with pytest.raises(AccessRefused):
            broker.connect(url).connect()


@pytest.mark.parametrize("program", sorted(set(ROLES) - {*BROKERED, *WEBS}))
def test_sidecars_have_no_user_in_rabbitmq(stack, program):
    assert "SOUK_BROKER_URL" not in stack.credentials(program)


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("program", WEBS)
def test_a_web_process_reads_its_services_dead_letters_and_returns_them_to_it_and_no_more(stack, program):
    service = ROLES[program]
    dead = [f"{service}.dead"] * service_with_queues(service)
    for queue in dead:
        assert channel_of(stack, program).basic_get(queue) is None
    publish(stack, program, service, "nowhere")
    names = [name for each in SERVICES for name in (each, f"{each}.dead", f"{each}.celery")]
    for queue in {*names, broker.UNROUTED} - {*dead}:
        for attempt in (
            lambda channel, queue=queue: channel.basic_get(queue),
            lambda channel, queue=queue: channel.queue_purge(queue),
        ):
            with pytest.raises((AccessRefused, NotFound)):
                attempt(channel_of(stack, program))
    for exchange in {*SERVICES, broker.EXCHANGE.name, broker.UNROUTED, ""} - {service}:
        with pytest.raises((AccessRefused, NotFound)):
            publish(stack, program, exchange, "order.placed")
    for attempt in (
        lambda channel: channel.queue_declare("new"),
        lambda channel: channel.queue_delete(f"{service}.dead"),
        lambda channel: channel.queue_bind(f"{service}.dead", service, "anything"),
    ):
        with pytest.raises((AccessRefused, NotFound)):
            attempt(channel_of(stack, program))


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("program", BROKERED)
def test_a_program_uses_its_services_queues_and_no_others(stack, program):
    service = ROLES[program]
    own = [f"{service}.celery"] if program.endswith("celery") else [service] * service_with_queues(service)
    for queue in own:
        assert channel_of(stack, program).basic_get(queue) is None
    others = [name for other in set(SERVICES) - {service} for name in (other, f"{other}.dead", f"{other}.celery")]
    for queue in others:
        for attempt in (
            lambda channel, queue=queue: channel.basic_get(queue),
            lambda channel, queue=queue: channel.queue_purge(queue),
            lambda channel, queue=queue: channel.queue_delete(queue),
            lambda channel, queue=queue: channel.queue_bind(queue, broker.EXCHANGE.name, "user.deleted"),
        ):
            with pytest.raises((AccessRefused, NotFound)):
                attempt(channel_of(stack, program))


def publish(stack: Stack, program: str, exchange: str, key: str) -> None:
    channel = channel_of(stack, program)
    channel.confirm_select()
    channel.basic_publish_confirm(amqp.Message(b"{}"), exchange=exchange, routing_key=key)


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("program", BROKERED)
def test_a_program_publishes_its_own_types_and_to_its_own_queues(stack, program):
    service = ROLES[program]
    types = SERVICES[service].publishes if program.endswith("worker") else ()
    for type_ in types:
        publish(stack, program, broker.EXCHANGE.name, type_)
    publish(stack, program, service, "nowhere")
    others = {type_ for manifest in SERVICES.values() for type_ in manifest.publishes} - {*types}
    forged = [(broker.EXCHANGE.name, type_) for type_ in others]
    # The default exchange leads to every queue.
    forged += [("", "payments.celery"), ("", "orders"), *((other, other) for other in set(SERVICES) - {service})]
    for exchange, key in forged:
        with pytest.raises((AccessRefused, NotFound)):
            publish(stack, program, exchange, key)


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("program", [program for program in BROKERED if program.endswith("worker")])
def test_a_worker_cannot_listen_to_messages_it_does_not_handle(stack, program):
    service = ROLES[program]
    if not service_with_queues(service):
        pytest.skip("It has no queue.")
    for type_ in ("#", "payment.*", *({"payment.authorize", "user.registered"} - {*SERVICES[service].handles})):
        with pytest.raises(AccessRefused):
            channel_of(stack, program).queue_bind(service, broker.EXCHANGE.name, type_)


def test_where_redis_carries_the_messages_it_carries_nothing_else_for_their_user(stack):
    url, envelope = stack.servers["redis"].messages_url, an_envelope("letters")
    broker.declare(url, "letters", ["letters.greeted"])
    publisher = Publisher(url, "letters")
    publisher.publish(envelope)
    publisher.close()
    with broker.connect(url) as connection:
        message = broker.service_queue("letters", ["letters.greeted"])(connection.default_channel).get()
        assert Envelope.from_json(broker.body_of(message)) == envelope
        message.ack()
    for key in ("souk:revoked:a-token", "ratelimit:login"):
        with pytest.raises(NoPermissionError):
            redis.Redis.from_url(url).get(key)
