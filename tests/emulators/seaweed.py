"""SeaweedFS on this machine: a real S3 server, with a bucket and keys, which can die and come back."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError
from ports import free_ports

START_S_MAX = 60.0
PROGRAM = Path(sys.executable).parent / "weed"
PARTS = ("s3", "master", "volume", "filer", "admin")


class Seaweed:
    """`url` is the endpoint. `access_key` may do anything, `reader_key` only read and list.

    with Seaweed(folder) as s3: ...
    """

    def __init__(self, folder: Path, bucket: str = "results") -> None:
        self.bucket = bucket
        self.access_key, self.secret_key = "owner-key", "owner-secret-123"
        self.reader_key, self.reader_secret = "reader-key", "reader-secret-123"
        self._folder = folder
        ports = free_ports(2 * len(PARTS))
        self._ports = dict(zip(PARTS, ports[: len(PARTS)], strict=True))
        self._grpc = ports[len(PARTS) :]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._ports['s3']}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Also after `kill`, on the same ports and files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = self._folder / "s3.json"
        keys.write_text(json.dumps({"identities": self._identities()}))
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(keys), stdout=log, stderr=log, cwd=self._folder)
        self._until_ready()

    def kill(self) -> None:
        """As a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _until_ready(self) -> None:
        """It answers before it has made the bucket, and before it finds its files."""
        end = time.monotonic() + START_S_MAX
        with contextlib.closing(self.client()) as client:
            while time.monotonic() < end:
                assert self._process.poll() is None, (self._folder / "weed.log").read_text()[-2000:]
                with contextlib.suppress(ClientError, BotoCoreError):
                    client.put_object(Bucket=self.bucket, Key="ready", Body=b"yes")
                    assert client.get_object(Bucket=self.bucket, Key="ready")["Body"].read() == b"yes"
                    client.delete_object(Bucket=self.bucket, Key="ready")
                    return
                time.sleep(0.05)
        raise AssertionError(f"SeaweedFS is not up within {START_S_MAX} s")

    def client(self) -> Any:
        """What another user of the bucket has, with all rights."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def _command(self, keys: Path) -> list[str]:
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        said = [f"-{part}.port={port}" for part, port in self._ports.items()]
        said += [f"-{part}.port.grpc={port}" for part, port in zip(PARTS, self._grpc, strict=True)]
        off = ["-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-s3.iam=false"]
        off += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        where = [f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        where += [
            f"-filer.localSocket={self._folder / 'f.sock'}",
            f"-s3.localSocket={self._folder / 's.sock'}",
        ]
        return [str(PROGRAM), "mini", *where, *said, *off, f"-s3.config={keys}", f"-bucket={self.bucket}"]

    def _identities(self) -> list[dict[str, object]]:
        return [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, key, secret, actions in (
                ("owner", self.access_key, self.secret_key, ["Admin", "Read", "Write", "List", "Tagging"]),
                ("reader", self.reader_key, self.reader_secret, ["Read", "List"]),
            )
        ]
