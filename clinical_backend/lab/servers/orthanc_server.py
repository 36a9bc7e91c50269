"""Starts a real Orthanc, an archive of DICOM objects, on a free loopback port, for tests and benchmarks."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.servers.server import Server, free_port

__all__ = ["OrthancServer"]

_START_SECONDS = _ANSWER_SECONDS = 60.0  # so that only what hangs ends; not measured
_PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/local/share/orthanc/plugins"))
_DICOMWEB = "libOrthancDicomWeb.so"
_THREADS = 8  # that answer; twice what an import asks at a time


class OrthancServer(Server):
    """Runs an Orthanc with its DICOMweb plugin. It speaks HTTP alone: that of Debian 12 crashes over TLS.

    Parameters
    ----------
    folder
        Where it keeps its data; it is made.
    user, password
        By which one signs in; anybody may where they are empty.

    Attributes
    ----------
    url
        Its root.
    dicomweb
        The root of its DICOMweb services.
    """

    def __init__(self, folder: Path, *, user: str = "", password: str = "") -> None:
        super().__init__()
        self._folder = folder
        self._port = free_port()
        self._sign_in = (user, password)
        self.url = f"http://127.0.0.1:{self._port}"
        self.dicomweb = f"{self.url}/dicom-web"

    @staticmethod
    def installed() -> bool:
        """Tell whether there are an Orthanc and its plugin on this machine."""
        return _binary() is not None and _plugin() is not None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        ClinicalError
            When none is installed, or it does not answer in time.
        """
        binary, plugin = _binary(), _plugin()
        if binary is None or plugin is None:
            raise ClinicalError("No Orthanc is installed.", "Install the packages orthanc and orthanc-dicomweb.")
        self._folder.mkdir(parents=True, exist_ok=True)
        data = str(self._folder / "data")
        settings: dict[str, object] = {
            "StorageDirectory": data,
            "IndexDirectory": data,
            "Plugins": [str(plugin)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "HttpPort": self._port,
            "HttpThreadsCount": _THREADS,
            "RemoteAccessAllowed": False,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": bool(self._sign_in[0]),
            "RegisteredUsers": dict([self._sign_in]) if self._sign_in[0] else {},
        }
        file = self._folder / "orthanc.json"
        file.write_text(json.dumps(settings))
        log = self._folder / "orthanc.log"
        with log.open("wb") as output:  # what an earlier run wrote would be taken for an answer
            process = subprocess.Popen([binary, str(file)], stdout=output, stderr=output)  # noqa: S603 - our own
        self._run(process, lambda: "Orthanc has started" in log.read_text(errors="replace"), _START_SECONDS, log)

    def store(self, content: bytes) -> None:
        """Keep a DICOM file.

        Raises
        ------
        ClinicalError
            When it refuses it.
        """
        # No context of TLS is made for each file, as httpx2 does.
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_SECONDS)
        sign_in = b64encode(":".join(self._sign_in).encode()).decode()
        try:
            connection.request("POST", "/instances", content, {"Authorization": f"Basic {sign_in}"})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != HTTPStatus.OK:
            raise ClinicalError(f"Orthanc refuses a file (status {status}).", "Give it a DICOM file.")


def _binary() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


def _plugin() -> Path | None:
    return next((folder / _DICOMWEB for folder in _PLUGINS if (folder / _DICOMWEB).exists()), None)
