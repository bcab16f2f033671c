"""Objects in a bucket of S3, or of a server that speaks its protocol.

Credentials, region and endpoint are found as by every program with Amazon's SDK: AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, a
machine's role. Memory is bounded by one part, and an object is there whole or not at all.
"""

import hashlib
import io
import ipaddress
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

from launcher.errors import LaunchError

SCHEME = "s3://"
ALLOW_HTTP = "SOUK_BACKUP_ALLOW_HTTP"

PART_BYTES = 16 * 1024 * 1024
"""S3 takes 10,000 of them: 160 GB."""

ATTEMPTS = 5
CONNECT_SECONDS, READ_SECONDS = 5, 30

_MISSING = ("NoSuchKey", "404")
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_RIGHTS = (
    "check the credentials, which need s3:ListBucket and s3:ListBucketMultipartUploads on the bucket, and s3:GetObject, s3:PutObject, "
    "s3:DeleteObject and s3:AbortMultipartUpload on its objects"
)


@dataclass(frozen=True)
class Found:
    key: str
    size: int
    changed_at: datetime


class Bucket:
    """Keys are below the URL's prefix. All methods raise LaunchError."""

    def __init__(self, url: str, allow_http: bool = False) -> None:
        parts = urlsplit(url)
        self.url, self.name = url.rstrip("/"), parts.netloc
        self._prefix = f"{path}/" if (path := parts.path.strip("/")) else ""
        if not self.name:
            raise LaunchError(f"{url} names no bucket: expected s3://bucket/prefix.")
        self._client = _client(allow_http)

    def get(self, key: str) -> bytes | None:
        """A small object, or None if there is none."""
        from botocore.exceptions import ClientError

        try:
            return self._get(key)["Body"].read()  # type: ignore[no-any-return]
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            self._explain(error)
        except _errors() as error:
            self._explain(error)

    def put(self, key: str, content: bytes) -> None:
        with self._explained():
            self._client.put_object(Bucket=self.name, Key=self._prefix + key, Body=content)

    def listed(self, prefix: str = "") -> Iterator[Found]:
        """By key."""
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self._prefix + prefix
            )
            for page in pages:
                for each in page.get("Contents", ()):
                    yield Found(each["Key"].removeprefix(self._prefix), each["Size"], each["LastModified"])

    def delete(self, key: str) -> None:
        """Also if it is not there."""
        with self._explained():
            self._client.delete_object(Bucket=self.name, Key=self._prefix + key)

    def abort_uploads(self, is_abandoned: Callable[[str, datetime], bool]) -> None:
        """What killed programs have left, which costs money and is listed nowhere. By key, and when it was begun."""
        with self._explained():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=self._prefix)
            for page in pages:
                for each in page.get("Uploads", ()):
                    if is_abandoned(each["Key"].removeprefix(self._prefix), each["Initiated"]):
                        self._client.abort_multipart_upload(
                            Bucket=self.name, Key=each["Key"], UploadId=each["UploadId"]
                        )

    @contextmanager
    def writing(self, key: str) -> Iterator["Upload"]:
        """The object is there once the block has ended, unless it raises."""
        upload = Upload(self._client, self.name, self._prefix + key)
        with self._explained():
            upload.begin()
            try:
                yield upload
                upload.complete()
            except BaseException:
                with suppress(*_errors()):
                    upload.abort()
                raise

    @contextmanager
    def reading(self, key: str) -> Iterator["Download"]:
        with self._explained():
            yield Download(lambda **where: self._get(key, **where))

    # --- inside

    def _get(self, key: str, **where: str) -> Any:
        return self._client.get_object(Bucket=self.name, Key=self._prefix + key, **where)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _errors() as error:
            self._explain(error)

    def _explain(self, error: Exception) -> NoReturn:
        from botocore.exceptions import EndpointConnectionError, NoCredentialsError, PartialCredentialsError

        code = _code(error)
        if code == "NoSuchBucket":
            raise LaunchError(f"{self.url}: there is no bucket {self.name}: make it first.") from error
        if code in _DENIED:
            raise LaunchError(f"{self.url}: access denied ({code}): {_RIGHTS}.") from error
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            raise LaunchError(
                f"{self.url}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            ) from error
        if isinstance(error, EndpointConnectionError):
            raise LaunchError(
                f"{self.url}: {self._client.meta.endpoint_url} does not respond: start it, or correct AWS_ENDPOINT_URL."
            ) from error
        raise LaunchError(f"{self.url}: {' '.join(str(error).split())}") from error


class Upload(io.RawIOBase):
    """In parts, each kept until it has arrived."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client, self._where = client, {"Bucket": bucket, "Key": key}
        self._buffer, self._parts = bytearray(), list[dict[str, Any]]()
        self._digest, self.size = hashlib.sha256(), 0

    def begin(self) -> None:
        self._id = {"UploadId": self._client.create_multipart_upload(**self._where)["UploadId"]}

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self._buffer += data
        self.size += len(data)
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]
        return len(data)

    @property
    def digest(self) -> str:
        """SHA-256."""
        return self._digest.hexdigest()

    def complete(self) -> None:
        if self._buffer or not self._parts:
            self._send(bytes(self._buffer))
        self._client.complete_multipart_upload(**self._where, **self._id, MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        self._client.abort_multipart_upload(**self._where, **self._id)

    def _send(self, content: bytes) -> None:
        number = len(self._parts) + 1
        sent = self._client.upload_part(**self._where, **self._id, PartNumber=number, Body=content)
        checksums = {
            name: value for name, value in sent.items() if name.startswith("Checksum") and name != "ChecksumType"
        }
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"], **checksums})


class Download(io.RawIOBase):
    """Goes on where it stopped when the connection breaks."""

    def __init__(self, get: Any) -> None:
        self._get = get
        self._at, self._etag, self._digest = 0, "", hashlib.sha256()
        self._open()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._digest.update(data)
        self._at += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return self._digest.hexdigest()

    def _read(self, count: int) -> bytes:
        from botocore.exceptions import BotoCoreError, FlexibleChecksumError

        for attempt in range(ATTEMPTS):
            try:
                if attempt:
                    self._open()
                return self._body.read(count)  # type: ignore[no-any-return]
            except FlexibleChecksumError:
                raise
            except BotoCoreError:
                if attempt == ATTEMPTS - 1:
                    raise
                threading.Event().wait(0.2 * 2**attempt)
        raise AssertionError

    def _open(self) -> None:
        where = {"Range": f"bytes={self._at}-", "IfMatch": self._etag} if self._at else {}
        answer = self._get(**where)
        self._body, self._etag = answer["Body"], answer["ETag"]


def _client(allow_http: bool) -> Any:
    try:
        # Here, as only backups in a bucket pay for it.
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise LaunchError(
            f"Backups in a bucket need {error.name}, which is missing: delete .venv, and ./souk installs it again."
        ) from None
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    config = Config(retries=retries, connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
    try:
        session = boto3.session.Session()
        client = session.client("s3", config=config)
        endpoint = urlsplit(client.meta.endpoint_url)
        host = endpoint.hostname or ""
        if endpoint.scheme != "https" and not allow_http and not _is_loopback(host):
            raise LaunchError(
                f"Backups would cross the network to {host} in the clear: give it an https:// address, or set {ALLOW_HTTP}=1."
            )
        if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            # What stands in for S3 seldom has a host name for each bucket.
            client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
        return client
    except (BotoCoreError, ValueError) as error:
        raise LaunchError(f"S3: {' '.join(str(error).split())}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _code(error: Exception) -> str:
    found: str = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return found
