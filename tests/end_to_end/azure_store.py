"""An Azure Blob Storage of one's own on a free loopback port: Azurite, Microsoft's emulator, where it is installed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import httpx2

from clinical_backend.lab.servers.label_studio_server import find_label_studio
from clinical_backend.lab.servers.server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

AZURITE = shutil.which("azurite-blob")
ACCOUNT, KEY = "reader", base64.b64encode(b"a-secret-key").decode()

# Label Studio's environment has Azure's client; it signs what it sends, so the emulator can be filled by it alone.
_UPLOAD = """
import base64, json, sys
from azure.storage.blob import BlobServiceClient
given = json.load(sys.stdin)
container = BlobServiceClient.from_connection_string(given["connection"]).create_container(given["container"])
for name, content in given["objects"].items():
    container.upload_blob(name, base64.b64decode(content))
"""


@contextlib.contextmanager
def azure_store(folder: Path, container: str, objects: Mapping[str, bytes]) -> Iterator[str]:
    """Run it with a container of objects, and give the account key as Label Studio has to be told it.

    Label Studio has no setting for the address of Azure and puts the key into a connection string as it is, so the
    address is told behind the key.
    """
    assert AZURITE is not None
    port = free_port()
    command = [
        AZURITE,
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
    ]
    command += ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    environment = os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    key = f"{KEY};BlobEndpoint={url}"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_up(process, url, folder / "log")
            content = {name: base64.b64encode(body).decode() for name, body in objects.items()}
            account = f"AccountName={ACCOUNT};AccountKey={key}"
            given = {"connection": account, "container": container, "objects": content}
            python = find_label_studio().with_name("python")
            subprocess.run([python, "-c", _UPLOAD], input=json.dumps(given).encode(), check=True, timeout=120)
            yield key
        finally:
            process.kill()


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    with httpx2.Client(trust_env=False, timeout=5) as http:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx2.TransportError):
                http.get(url)  # whatever it answers
                return
            time.sleep(0.1)
    raise AssertionError(f"Azurite does not start: {log.read_text()[-2000:]}")
