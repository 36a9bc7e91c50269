"""What builds and runs the image: Docker, or, where no daemon runs, buildah and the kernel's namespaces.

Containers run as those of the compose file do: with a root file system that cannot be written, a ``/tmp`` of their own,
no capability but those named, and ``no-new-privileges``. They share the network of this machine, so that they reach
the servers of the tests on loopback. No init process stands before them, which is the harder case for signals.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def find_engine():
    """Return what can run containers here, none if nothing can."""
    if shutil.which("docker") and _succeeds("docker", "info"):
        return Docker()
    if shutil.which("buildah") and os.geteuid() == 0 and _succeeds("unshare", "--mount", "--pid", "--fork", "true"):
        return Buildah()
    return None


def _succeeds(*command):
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _output(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout.strip()


class Container:
    """A running container, with what it wrote."""

    def __init__(self, process, log, signal, execute):
        self.process = process
        self._log = log
        self.signal = signal
        self._execute = execute

    @property
    def log(self):
        return self._log.read_text(errors="replace")

    def run(self, *command):
        """Run a command beside the first process, as its user; return the finished process."""
        return self._execute(command)

    def wait(self, seconds):
        """Return the exit status, once it has ended."""
        return self.process.wait(seconds)


class Docker:
    """Containers of a Docker daemon."""

    def build(self, tag):
        subprocess.run(["docker", "build", "--tag", tag, *_arguments(), str(ROOT)], check=True)

    def image(self, tag):
        (found,) = json.loads(_output("docker", "image", "inspect", tag))
        return found["Config"]

    def close(self):
        """End: nothing is kept."""

    def new_volume(self):
        return _output("docker", "volume", "create")

    def remove_volume(self, volume):
        _output("docker", "volume", "rm", "--force", volume)

    @contextmanager
    def container(self, tag, command=(), *, user=None, environment=None, volume, capabilities=()):
        name = f"clinical-{uuid.uuid4().hex[:12]}"
        options = [
            *("--name", name, "--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--volume", f"{volume}:/data"),
            *(part for each in capabilities for part in ("--cap-add", each)),
            *(("--user", user) if user else ()),
            *(part for item in (environment or {}).items() for part in ("--env", "=".join(item))),
        ]
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            with log.open("wb") as output:
                process = subprocess.Popen(["docker", "run", *options, tag, *command], stdout=output, stderr=output)
            try:
                yield Container(
                    process,
                    log,
                    lambda number: _output("docker", "kill", f"--signal={int(number)}", name),
                    lambda words: subprocess.run(["docker", "exec", name, *words], capture_output=True, check=False),
                )
            finally:
                subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)
                process.wait()


class Buildah:
    """An image of buildah's, run in namespaces of the kernel by util-linux. Needs root."""

    COMMAND = ("buildah", "--storage-driver", "vfs")

    def __init__(self):
        self._roots = {}

    def build(self, tag):
        options = ["--isolation", "chroot", "--format", "docker", "--tag", tag]
        subprocess.run([*self.COMMAND, "build", *options, *_arguments(), str(ROOT)], check=True)

    def image(self, tag):
        return json.loads(_output(*self.COMMAND, "inspect", "--type", "image", tag))["Docker"]["config"]

    def new_volume(self):
        """Return a folder in which any user finds what lies below ``/data`` of the image, as Docker fills a volume."""
        return tempfile.mkdtemp(dir="/tmp", prefix="volume-")

    def remove_volume(self, volume):
        shutil.rmtree(volume)

    @contextmanager
    def container(self, tag, command=(), *, user=None, environment=None, volume, capabilities=()):
        config, image = self.image(tag), self._root(tag)
        if not any(Path(volume).iterdir()) and Path(volume).stat().st_mode & 0o777 == 0o700:
            _output("cp", "--archive", "--no-target-directory", str(image / "data"), volume)
        user, _, group = (user or config["User"]).partition(":")
        group = group or "0"
        given = {**dict(entry.split("=", 1) for entry in config["Env"]), **(environment or {})}
        kept = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities)])
        words = [
            *("env", "--ignore-environment", *(f"{name}={value}" for name, value in given.items())),
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"),
            *(f"--bounding-set={kept}", f"--inh-caps={kept}"),
        ]
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="root-")))
            root, log = folder / "root", folder / "log"
            root.mkdir()
            script = "; ".join(
                [
                    "set -e",
                    f"mount --bind {image} {root}",
                    f"mount -o remount,ro,bind {root}",
                    f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
                    f"mount -t proc proc {root}/proc",
                    f"mount --rbind /dev {root}/dev",
                    f"mount --bind /etc/resolv.conf {root}/etc/resolv.conf || true",
                    f"mount --bind {volume} {root}/data",
                    f"exec chroot {root} {shlex.join([*words, *(command or config['Cmd'])])}",
                ]
            )
            with log.open("wb") as output:
                process = subprocess.Popen(
                    ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script],
                    stdout=output,
                    stderr=output,
                )
            try:
                yield Container(
                    process,
                    log,
                    lambda number: os.kill(_first(process), number),
                    lambda inside: subprocess.run(
                        [
                            *("nsenter", f"--target={_first(process)}", "--mount", "--pid"),
                            *(f"--root=/proc/{_first(process)}/root", "--wd=/", *words, *inside),
                        ],
                        capture_output=True,
                        check=False,
                    ),
                )
            finally:
                # With the namespace's first process, all of them end; what changes its user outlives its parent.
                for first in psutil.Process(process.pid).children() if process.poll() is None else ():
                    first.kill()
                process.wait()

    def _root(self, tag):
        if tag not in self._roots:
            made = _output(*self.COMMAND, "from", "--pull-never", tag)
            self._roots[tag] = Path(_output(*self.COMMAND, "mount", made)), made
        return self._roots[tag][0]

    def close(self):
        for _, made in self._roots.values():
            _output(*self.COMMAND, "rm", made)


def _first(process):
    """Return the id, as this machine counts, of the container's first process."""
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(process.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return children[0].pid


def _arguments():
    return shlex.split(os.environ.get("BUILD_OPTIONS", ""))
