"""A Service's port on this machine, as kubectl forwards it to one of the Service's pods."""

import re
import subprocess
import threading

from launcher.cluster.kubectl import Kubectl

RETRY_SECONDS = 0.5


class Forward:
    """kubectl ends with that pod, and when its program refuses a connection: then it is started again, on the same port."""

    def __init__(self, kubectl: Kubectl, service: str, port: int) -> None:
        self._command = [*kubectl.command, "port-forward", f"service/{service}"]
        self._port = port
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_open)
        self._start()
        found = re.match(r"Forwarding from (\S+) ->", self._output.readline())
        self.address = found[1] if found else ""
        """host:port; empty without a pod."""
        if found:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            self._process.terminate()
        if self.address:
            self._thread.join()
        self._end()

    # --- inside

    def _start(self, local_port: str = "") -> None:
        command = [*self._command, f"{local_port}:{self._port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        self._output = self._process.stdout

    def _keep_open(self) -> None:
        local_port = self.address.rpartition(":")[2]
        while not self._stopping.is_set():
            # A line for each connection: in a full pipe kubectl would get stuck.
            for _ in self._output:
                pass
            self._end()
            with self._lock:
                if not self._stopping.wait(RETRY_SECONDS):
                    self._start(local_port)

    def _end(self) -> None:
        self._process.wait()
        self._output.close()
