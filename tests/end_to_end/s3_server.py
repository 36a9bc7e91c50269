"""A real S3 server, SeaweedFS, on free loopback ports, that shows nothing without a key."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from clinical_backend.lab.servers.server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WEED = Path(sys.executable).parent / "weed"
ACCESS_KEY, SECRET_KEY = "label-studio", "a-secret-key"
_CREDENTIALS = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
_IDENTITIES = {"identities": [{"name": "reader", "credentials": _CREDENTIALS, "actions": ["Read", "List"]}]}


@contextlib.contextmanager
def s3_server(folder: Path, objects: Mapping[str, bytes]) -> Iterator[str]:
    """Run it with objects by ``bucket/name``, and give its address."""
    config = folder / "identities.json"
    config.write_text(json.dumps(_IDENTITIES))
    port, filer = free_port(), free_port()
    command = [str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1"]
    command += ["-s3", f"-s3.port={port}", f"-s3.port.grpc={free_port()}", f"-s3.config={config}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-filer.port={filer}", f"-filer.port.grpc={free_port()}"]
    for part in ("master", "volume"):
        command += [f"-{part}.port={free_port()}", f"-{part}.port.grpc={free_port()}"]
    command += ["-volume.max=4", "-master.volumeSizeLimitMB=16", "-master.telemetry=false"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            for name, content in objects.items():  # through the server's own door
                _ask(process, "PUT", f"http://127.0.0.1:{filer}/buckets/{name}", content, 201, folder / "log")
            url = f"http://127.0.0.1:{port}"
            _ask(process, "GET", f"{url}/{next(iter(objects))}", b"", 403, folder / "log")
            yield url
        finally:
            process.kill()


def _ask(process: subprocess.Popen[bytes], method: str, address: str, content: bytes, status: int, log: Path) -> None:
    """Send a request until it is answered as it should be."""
    deadline = time.monotonic() + 60
    with httpx2.Client(trust_env=False, timeout=5) as http:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx2.TransportError):
                if http.request(method, address, content=content).status_code == status:
                    return
            time.sleep(0.2)
    raise AssertionError(f"the S3 server does not start: {log.read_text()[-2000:]}")
