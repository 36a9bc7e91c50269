"""A real Label Studio of one's own, on SQLite and a free loopback port."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from clinical_backend.errors import LabelStudioUnavailableError
from clinical_backend.lab.servers.server import Server, answers_health, end_process, free_port, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Account", "LabelStudioServer", "find_label_studio"]

_DATABASE = "label_studio.sqlite3"
_ACCOUNT = "account.json"
_FAST_IMPORT_FLAG = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"
_MIGRATION_SECONDS = 600.0
_START_SECONDS = 120.0
"""So that only what hangs ends; not measured."""


@dataclass(frozen=True, slots=True)
class Account:
    """The administrator of a server; ``token`` is a legacy one."""

    email: str
    password: str
    token: str

    @classmethod
    def random(cls) -> Account:
        """Return an account that nobody else knows."""
        return cls("admin@example.com", secrets.token_urlsafe(12), secrets.token_hex(20))

    @classmethod
    def kept_in(cls, file: Path) -> Account:
        """Return the account that a file keeps, where there is one, else a random one."""
        return cls(**json.loads(file.read_text())) if file.exists() else cls.random()

    def keep_in(self, file: Path) -> None:
        """Write the account to a file that only this user may read."""
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self)))


def find_label_studio() -> Path:
    """Return the ``label-studio`` command: LABEL_STUDIO_BIN, ``.venv-label-studio`` here, or on the path.

    Raises
    ------
    LabelStudioUnavailableError
        When it is installed nowhere.
    """
    named = os.environ.get("LABEL_STUDIO_BIN")
    candidates = [Path(named)] if named else [Path(".venv-label-studio/bin/label-studio")]
    if not named and (on_path := shutil.which("label-studio")):
        candidates.append(Path(on_path))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate.absolute()
    raise LabelStudioUnavailableError(
        "Label Studio is not installed.",
        "Run `make setup`, or set LABEL_STUDIO_BIN to the label-studio command of another environment.",
    )


class LabelStudioServer(Server):
    """Starts a Label Studio, as a context manager, and stops it with all its processes.

    Its first start ever takes up to two minutes of database migrations. Their outcome is kept in ``cache``,
    by version, so that later starts take seconds.

    Parameters
    ----------
    data
        Folder for its database, uploads and log; another start with the same folder finds it all again.
    cache
        Folder that keeps the empty, migrated database.
    account
        The administrator; by default that of the last start with this folder, at first a random one.
    port
        Port on loopback; 0 takes a free one.
    backends_on_loopback
        Whether it accepts backends and webhooks on loopback and private addresses.
    fast_imports
        Whether importing predictions costs time for the imported ones only, not for all of the project.
    environment
        More of its settings.
    command
        The ``label-studio`` command; found by itself by default.

    Attributes
    ----------
    url
        Where it answers, once started.
    files
        Folder that it serves under ``/data/local-files/?d=``.
    log
        File that holds its output.
    """

    _failure = LabelStudioUnavailableError

    def __init__(
        self,
        data: Path,
        *,
        cache: Path,
        account: Account | None = None,
        port: int = 0,
        backends_on_loopback: bool = True,
        fast_imports: bool = False,
        environment: Mapping[str, str] | None = None,
        command: Path | None = None,
    ) -> None:
        super().__init__()
        self.data = data.absolute()
        self.files = self.data / "files"
        self.log = self.data / "label-studio.log"
        self.account = account or Account.kept_in(self.data / _ACCOUNT)
        self.url = ""
        self._cache = cache.absolute()
        self._port = port
        self._backends_on_loopback = backends_on_loopback
        self._fast_imports = fast_imports
        self._more = dict(environment or {})
        self._command = command

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        LabelStudioUnavailableError
            When it is not installed, stops, or does not answer in time.
        """
        command = self._command or find_label_studio()
        self.files.mkdir(parents=True, exist_ok=True)
        self.account.keep_in(self.data / _ACCOUNT)
        if not (self.data / _DATABASE).exists():
            shutil.copyfile(_migrated_database(command, self._cache), self.data / _DATABASE)
        port = self._port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        process = _launch(command, self.data, port, self.log, self._environment())
        self._run(process, lambda: answers_health(port), _START_SECONDS, self.log)

    def _environment(self) -> dict[str, str]:
        environment = {
            "LABEL_STUDIO_USERNAME": self.account.email,
            "LABEL_STUDIO_PASSWORD": self.account.password,
            "LABEL_STUDIO_USER_TOKEN": self.account.token,
        }
        if self._backends_on_loopback:
            environment["LABEL_STUDIO_ML_BLOCK_LOCAL_IP"] = "false"
            environment["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] = "false"
        if self._fast_imports:
            environment[_FAST_IMPORT_FLAG] = "true"
        return environment | self._more


def _launch(command: Path, data: Path, port: int, log: Path, extra: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start ``label-studio`` in a process group of its own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LABEL_STUDIO_", "DATABASE_", "DJANGO_", "PYTHON", "VIRTUAL_ENV", "fflag_"))
    }
    environment |= {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "DATABASE_NAME": str(data / _DATABASE),
        "XDG_CONFIG_HOME": str(data / "config"),  # it keeps an id of its user there
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(data / "files"),
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",  # the switch of the same name is unknown before 1.17
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    arguments = ["start", "--no-browser", "-p", str(port), "--internal-host", "127.0.0.1"]
    arguments += ["--log-level", "WARNING"]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command was found or given by the caller
            [str(command), *arguments],
            cwd=data,
            env=environment | extra,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _migrated_database(command: Path, cache: Path) -> Path:
    """Return the empty database of this Label Studio's version, made on first use."""
    cache.mkdir(parents=True, exist_ok=True)
    database = cache / f"label-studio-{_version(command)}.sqlite3"
    with filelock.FileLock(cache / "label-studio.lock", timeout=2 * _MIGRATION_SECONDS):
        if not database.exists():
            log = cache / "label-studio-migration.log"
            log.unlink(missing_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                scratch = Path(folder)
                (scratch / "files").mkdir()
                port = free_port()
                process = _launch(command, scratch, port, log, {})
                try:
                    wait_for_answer(
                        process, lambda: answers_health(port), _MIGRATION_SECONDS, log, LabelStudioUnavailableError
                    )
                finally:
                    end_process(process)
                _compact(scratch / _DATABASE)
                (scratch / _DATABASE).replace(database)
    return database


def _compact(database: Path) -> None:
    """Fold a journal that may be left into the file itself."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM")


def _version(command: Path) -> str:
    """Name the installed version by its package's metadata, without starting it."""
    packages = sorted(command.resolve().parent.parent.glob("lib/python*/site-packages/label_studio-*.dist-info"))
    if packages:
        return packages[0].name.removeprefix("label_studio-").removesuffix(".dist-info")
    return hashlib.sha256(command.read_bytes()).hexdigest()[:12]
