"""Programs that end at any time lose no order."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import text

from launcher.kubernetes import demo
from tests.chaos.lives import SOLD
from tests.chart.conftest import Render, of
from tests.chart.live.shop import MANY_SECONDS, VALUES, Load, Shop, truth
from tests.installation import Person, until

ATTEMPTS = 5
ESTABLISHED = "01"


def test_an_order_is_paid_after_each_program_was_killed(shop: Shop, render: Render) -> None:
    with Load(shop, is_patient=True) as load:
        for program in of(render(VALUES), "Deployment"):
            before = shop.pods(program)
            shop.kubectl("delete", "pods", *before, "--force", "--grace-period=0")
            until(lambda: len(shop.pods(program).items() - before.items()) >= len(before), MANY_SECONDS)  # noqa: B023 - now
        load.goes_on()
    shop.comes_right()


def test_a_stopping_worker_finishes_its_message(shop: Shop) -> None:
    waiting = text("""
        SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE relation = 'payments'::regclass AND NOT granted AND client_addr = CAST(:pod AS inet)
    """)
    with truth(shop) as found:

        def is_finished() -> bool:
            buy = buyer(shop)
            with stopping(shop, "payments-worker") as pod, found.connect("payments") as connection:
                connection.execute(text("LOCK TABLE payments IN SHARE MODE"))
                order_id = buy()
                until(lambda: connection.scalar(waiting, {"pod": pod.address}), MANY_SECONDS)
                pod.stop()
                # It waits a few seconds for a lock. On a slow machine that may be over.
                is_in_time = connection.scalar(waiting, {"pod": pod.address})
            return bool(is_in_time) and pod.has_logged(order_id, "payment.authorize", "done")

        assert any(is_finished() for _ in range(ATTEMPTS))
    shop.comes_right()


def test_a_stopping_celery_pod_finishes_its_task(shop: Shop) -> None:
    def is_finished() -> bool:
        buy = buyer(shop)
        with stopping(shop, "payments-celery") as pod, frozen_bank(shop) as bank:
            order_id = buy()
            until(lambda: has_unread_request(bank), MANY_SECONDS)
            pod.stop()
            is_in_time = has_unread_request(bank)
        return is_in_time and pod.has_logged(order_id, "payment changed", "authorized")

    assert any(is_finished() for _ in range(ATTEMPTS))
    shop.comes_right()


def buyer(shop: Shop) -> Callable[[], str]:
    """A new customer: each call orders, and returns the order's id."""
    product, customer = shop.new_product(), Person(shop.url).sign_up()

    def buy() -> str:
        order_id: str = customer.order(product, SOLD.quantity)["id"]
        shop.sold[product][order_id] = SOLD
        return order_id

    return buy


class Pod:
    """A program's only one."""

    def __init__(self, shop: Shop, program: str) -> None:
        [(self.name, self._uid)] = shop.pods(program).items()
        self.address = shop.kubectl("get", "pod", self.name, "-o=jsonpath={.status.podIP}")
        self.log = ""
        self._shop, self._program = shop, program

    def stop(self) -> None:
        """Returns once it has been told so."""
        self._shop.kubectl("delete", "pod", self.name, "--wait=false")
        until(lambda: self._uid not in self._shop.pods(self._program).values(), MANY_SECONDS)

    def has_logged(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.log.splitlines())


@contextmanager
def stopping(shop: Shop, program: str) -> Iterator[Pod]:
    """Its log is there after the block, which stops it; the next one is ready then."""
    pod, kubectl = Pod(shop, program), shop.cluster.kubectl
    follow = [kubectl.binary, f"--kubeconfig={kubectl.kubeconfig}", "logs", f"-n={demo.NAMESPACE}", "-f", pod.name]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield pod
            pod.log = process.communicate(timeout=MANY_SECONDS)[0]
        finally:
            process.kill()
    until(lambda: shop.pods(program), MANY_SECONDS)


@contextmanager
def frozen_bank(shop: Shop) -> Iterator[psutil.Process]:
    [bank] = [
        process
        for node in shop.cluster.nodes()
        for process in node.processes()
        if "devservers.bank" in process.cmdline()
    ]
    bank.suspend()
    try:
        yield bank
    finally:
        bank.resume()


def has_unread_request(bank: psutil.Process) -> bool:
    lines = [line.split() for line in Path(f"/proc/{bank.pid}/net/tcp").read_text().splitlines()[1:]]
    return any(
        local.endswith(f":{8080:04X}") and state == ESTABLISHED and int(queues.partition(":")[2], 16)
        for _, local, _, state, queues, *_ in lines
    )
