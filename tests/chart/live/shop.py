"""Souk on a cluster: its customers, and what became of their orders."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import urllib3

from launcher.cluster.cluster import Cluster
from launcher.kubernetes import demo, helm, place
from launcher.kubernetes.chart import CHART
from launcher.kubernetes.helm import Helm
from launcher.manifests import SERVICES
from launcher.stack import Stack
from tests.chaos.lives import SOLD, insist
from tests.chaos.truth import Expected, Truth
from tests.conftest import a_product
from tests.installation import Person, until

MANY_SECONDS = 600
VALUES = "values/kind.yaml+values/cluster.yaml"
WAIT = ("--wait", f"--timeout={MANY_SECONDS}s")
STOCK = 10_000

MESSAGE_IDS = """
import email.parser, pathlib
for path in pathlib.Path("/data/new").iterdir():
    print(email.parser.BytesHeaderParser().parsebytes(path.read_bytes())["Message-ID"])
"""


def with_image(name: str) -> list[str]:
    """Options for this image in every program. Bank and mailbox keep theirs, and so all that they know."""
    return [f"--set=image.names.{each}={name}" for each in (*SERVICES, "console", "gateway")]


@dataclass
class Shop:
    """printed: by `./souk cluster demo`."""

    cluster: Cluster
    folder: Path
    printed: str
    environment: Mapping[str, str]
    sold: dict[str, dict[str, Expected]] = field(default_factory=dict)
    """How orders have to end, by product and order."""

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """In the namespace."""
        return self.cluster.kubectl(f"--namespace={demo.NAMESPACE}", *arguments, given=given)

    def python(self, pod: str, script: str, *arguments: str) -> str:
        return self.kubectl("exec", pod, "--", "/venv/bin/python", "-c", script, *arguments)

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *arguments, "-o", "json"))["items"]
        return found

    def helm(self, *arguments: str | Path) -> str:
        return Helm(helm.find(), self.cluster.kubeconfig)(*arguments, "--namespace", demo.NAMESPACE)

    def upgrade(self, *options: str) -> None:
        """On top of the values so far."""
        self.helm("upgrade", "souk", CHART, "--reuse-values", *options, *WAIT)

    def rollback(self, *options: str) -> None:
        self.helm("rollback", "souk", *options, *WAIT)

    @property
    def url(self) -> str:
        """The edge's, whichever pod serves it."""
        return f"http://{self.kubectl('get', 'service', 'gateway', '-o', 'jsonpath={.spec.clusterIP}')}"

    def pods(self, program: str) -> dict[str, str]:
        """Those that are ready and stay: unique id by name."""
        service, _, role = program.partition("-")
        labels = f"app.kubernetes.io/name={service},app.kubernetes.io/component={role or 'edge'}"
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self.items("pods", "-l", labels)
            if "deletionTimestamp" not in pod["metadata"]
            for condition in pod["status"].get("conditions", ())
            if (condition["type"], condition["status"]) == ("Ready", "True")
        }

    @contextmanager
    def without_node(self, name: str) -> Iterator[None]:
        """New pods go to others during the block."""
        self.cluster.kubectl("cordon", name)
        try:
            yield
        finally:
            self.cluster.kubectl("uncordon", name)

    def new_product(self) -> str:
        seller = Person(self.url).sign_up()
        command = (
            "/venv/bin/python",
            "-m",
            "services.users.commands",
            "staff",
            "--email",
            seller.email,
            "--role=staff",
        )
        self.kubectl("exec", "deployment/users-web", "-c", "web", "--", *command)
        product: str = seller.log_in().call("POST", "/products/", a_product(stock_quantity=STOCK))["id"]
        self.sold[product] = {}
        return product

    def comes_right(self) -> None:
        """No order is lost, wrong or stuck, and no message about one is lost."""
        with truth(self) as found:
            found.comes_right(STOCK, self.sold, MANY_SECONDS)
        self.sold.clear()


class Load:
    """Customers who look at products, and some who buy, until the block ends. is_patient: those try again."""

    def __init__(
        self, shop: Shop, lookers: int = 1, buyers: int = 1, pause: float = 0.1, is_patient: bool = False
    ) -> None:
        self.statuses: list[int] = []
        """Of looks, in their order."""
        self.errors: list[str] = []
        self._shop, self._pause, self._is_patient = shop, pause, is_patient
        self._url, self._product = shop.url, shop.new_product()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._look) for _ in range(lookers)]
        self._threads += [threading.Thread(target=self._buy, args=[Person(self._url).sign_up()]) for _ in range(buyers)]

    @property
    def looked(self) -> int:
        return len(self.statuses)

    @property
    def bought(self) -> int:
        return len(self._shop.sold[self._product])

    def goes_on(self, looked: int = 20, bought: int = 3) -> None:
        """Wait until customers have looked and bought so many times more."""
        looked, bought = self.looked + looked, self.bought + bought
        until(lambda: self.looked >= looked and self.bought >= bought, MANY_SECONDS)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        pool = urllib3.PoolManager(retries=False, timeout=30)
        while not self._ended.wait(self._pause):
            try:
                status = pool.request("GET", f"{self._url}/products/?limit=5").status
                self.statuses.append(status)
                self.errors += [] if status == 200 else [f"products: {status}"]
            except urllib3.exceptions.HTTPError as error:
                self.errors.append(f"products: {error!r}")

    def _buy(self, customer: Person) -> None:
        lines = [{"product_id": self._product, "quantity": SOLD.quantity}]
        patient = partial(insist, customer, "POST", "/orders/", {"lines": lines, "payment_method": "tok_success"})
        hasty = partial(customer.order, self._product, SOLD.quantity)
        while not self._ended.wait(self._pause):
            try:
                placed = patient(seconds=MANY_SECONDS) if self._is_patient else hasty()
                self._shop.sold[self._product][placed["id"]] = SOLD
            except (AssertionError, urllib3.exceptions.HTTPError) as error:
                self.errors.append(f"order: {error!r}")


@contextmanager
def truth(shop: Shop) -> Iterator[Truth]:
    with ExitStack() as forwards:
        stack = place.stack(shop.folder / "kubernetes", shop.environment)
        for server in ("postgres", "mongo", "rabbitmq", "bank"):
            address = forwards.enter_context(demo.forwarded(shop.cluster.kubectl, server, place.PORTS[server]))
            stack.installation.ports[server] = int(address.rpartition(":")[2])
        stack.installation.hosts = {}
        yield InCluster(stack, lambda: shop.python("mailbox-0", MESSAGE_IDS))


class InCluster(Truth):
    def __init__(self, stack: Stack, message_ids: Callable[[], str]) -> None:
        super().__init__(stack)
        self._read, self._found = message_ids, ""

    def _unsent(self) -> Iterable[str]:
        """Mails as well: each that is not there yet would have the mailbox read again."""
        yield from super()._unsent()
        query = "SELECT count(*) FROM notifications WHERE status NOT IN ('sent', 'suppressed')"
        if count := self._rows("notifications", query)[0][0]:
            yield f"notifications: {count} unsent"

    def _copies(self, mail: Any) -> int:
        if str(mail.id) not in self._found:
            self._found = self._read()
        return self._found.count(str(mail.id))
