"""A server that speaks S3 (moto), with faults when a test asks for them."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import urllib3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

ACCESS = {
    "AWS_ACCESS_KEY_ID": "souk",
    "AWS_SECRET_ACCESS_KEY": "not a secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Nothing of the machine's.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}

Rule = Callable[[str, str], int | None]
"""By method and path: an error's status, CUT for an answer without its end, or None for the truth."""

CUT = -1


class Store:
    def __init__(self, port: int = 0) -> None:
        self.rule: Rule = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer | None = None
        self.port = port
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"
        # What it has is the process's, and of stores before.
        urllib3.request("POST", f"{self.url}/moto-api/reset")
        self.client: Any = boto3.client("s3", endpoint_url=self.url, **self._keys())

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """What it has stays."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def failing(self, rule: Rule) -> Iterator[None]:
        self.rule, before = rule, self.rule
        try:
            yield
        finally:
            self.rule = before

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def read(self, bucket: str, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def write(self, bucket: str, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=content)

    @staticmethod
    def _keys() -> dict[str, str]:
        names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
        return {**{name: ACCESS[variable] for name, variable in names.items()}, "region_name": "us-east-1"}

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = environ.get("QUERY_STRING", "")
        self.requests.append((method, f"{path}?{query}" if query else path))
        status = self.rule(*self.requests[-1])
        if status is None:
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        if status == CUT:
            body = b"".join(self._app(environ, start_response))
            return [body[: len(body) // 2]]
        # What was sent is read, or the client would be cut off.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        code = {403: "AccessDenied", 503: "SlowDown"}[status]
        start_response(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]


def use(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """By every client of this process."""
    given = {**ACCESS, "AWS_ENDPOINT_URL": store.url}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given
