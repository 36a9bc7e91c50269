"""A Google Cloud Storage of one's own on free loopback ports: an emulator, and what gives it access tokens.

The emulator stores and serves by Google's API, which Label Studio's own Google client talks to. It checks neither
tokens nor signatures: that they are right is not proved here.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.images.servers import reply, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def google_environment(port: int) -> dict[str, str]:
    """Return what makes Label Studio take the emulator at a port for Google Cloud Storage."""
    url = f"http://127.0.0.1:{port}"
    download = url + "/download/storage/v1/b/{bucket_name}/o/{blob_name}?alt=media"
    return {"STORAGE_EMULATOR_HOST": url, "RESOLVER_PROXY_GCS_DOWNLOAD_URL": download}


@contextlib.contextmanager
def google_store(port: int, bucket: str, objects: Mapping[str, bytes]) -> Iterator[str]:
    """Run it with a bucket of objects, and give the credentials of a service account as JSON."""
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--default-bucket={bucket}", "--in-memory", "--quiet"]
    token = json.dumps({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}).encode()
    with (
        serving(lambda request: reply(request, token, 200, **{"Content-Type": "application/json"})) as tokens,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as http:
                _wait_until_up(process, http)
                for name, content in objects.items():
                    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
                    http.post(path, content=content).raise_for_status()
            yield json.dumps(_service_account(f"http://127.0.0.1:{tokens.port}/token"))
        finally:
            process.kill()


def _wait_until_up(process: subprocess.Popen[bytes], http: httpx2.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if http.get("/").is_success:
                return
        time.sleep(0.1)
    raise AssertionError("the emulator of Google Cloud Storage does not start")


def _service_account(token_uri: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {"type": "service_account", "project_id": "scans", "private_key_id": "1", "private_key": pem}
    return account | {"client_email": "reader@scans.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_uri}
