"""A proxy before a real Label Studio that holds requests or fails them, at moments that tests choose."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2

_NOT_PASSED_ON = {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}


@dataclass
class Fault:
    """What becomes of requests whose method and address match.

    Attributes
    ----------
    status
        What they are answered; ``None`` closes the connection without an answer.
    reaches
        Whether Label Studio gets them all the same.
    held
        Whether they wait until the fault is over, before they are answered so.
    met
        Set when the first has come.
    over
        Set when no more are to meet it.
    """

    pattern: str
    status: int | None = None
    reaches: bool = False
    held: bool = False
    met: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class LabelStudioProxy:
    """Passes everything on to a Label Studio, as a context manager, but for faults."""

    def __init__(self, target):
        self._faults = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                proxy._answer(self)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815 - as the library names them

            def log_message(self, *arguments):
                pass

        self._http = httpx2.Client(base_url=target, timeout=600.0, trust_env=False)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        for fault in self._faults:
            fault.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._http.close()

    @contextlib.contextmanager
    def fault(self, pattern, **what):
        """Have requests such as ``PATCH /api/projects/1/`` meet a fault within the block."""
        fault = Fault(pattern, **what)
        self._faults.append(fault)
        try:
            yield fault
        finally:
            fault.over.set()

    def _answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        asked = f"{handler.command} {handler.path}"
        fault = next((f for f in self._faults if not f.over.is_set() and re.search(f.pattern, asked)), None)
        if fault is not None:
            fault.met.set()
            if fault.held:
                fault.over.wait()
        if fault is None or fault.reaches:
            status, headers, content = self._ask(handler, body)
        if fault is not None:
            status, headers, content = fault.status, {}, b"{}"
        if status is None:
            handler.close_connection = True
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked may have been killed
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

    def _ask(self, handler, body):
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _NOT_PASSED_ON}
        with self._http.stream(handler.command, handler.path, headers=headers, content=body) as answer:
            content = b"".join(answer.iter_raw())
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
        return answer.status_code, kept, content
