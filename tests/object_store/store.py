"""A real object store on loopback: moto's server, a process of its own, that can be stopped, killed and asked."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.web.conftest import free_port

BUCKET = "tables"
KEY = "canary-key-4b1d"
SECRET = "canary-secret-9e2f"
START_SECONDS = 60.0


@dataclass
class Store:
    """Where it answers, and the process that does."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    bucket: str = BUCKET

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment of whoever uses it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def objects(self, prefix: str = "") -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def requests(self) -> list[str]:
        """The method and path of every request so far."""
        lines = self.log.read_text().splitlines()
        return [line.split('"')[1].rpartition(" ")[0] for line in lines if 'HTTP/1.1"' in line]


@contextlib.contextmanager
def start_store(folder: Path) -> Iterator[Store]:
    """A store with one empty bucket, which it forgets when it ends."""
    port, log = free_port(), folder / "moto.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS": "true"},
        )
    store = Store(port, process, log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urlopen(f"{store.endpoint}/moto-api/", timeout=5):
                    break
            except URLError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        store.client().create_bucket(Bucket=BUCKET)
        yield store
    finally:
        process.kill()
        process.wait()
