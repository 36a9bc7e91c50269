"""A reverse proxy that shows a server below a path, as a hospital's web server would."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_PASSED_ON = frozenset({"connection", "content-length", "keep-alive", "server", "date", "transfer-encoding"})


@contextlib.contextmanager
def below(path: str, upstream: str, port: int) -> Iterator[list[str]]:
    """Show ``upstream`` below a path of a port of loopback, and nothing beside it; give what was asked beside it."""
    strays: list[str] = []
    with httpx2.Client(base_url=upstream, timeout=120, trust_env=False) as http:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not self.path.startswith(f"{path}/"):
                    strays.append(self.path)
                    self.send_error(404)
                    return
                headers = [(name, value) for name, value in self.headers.items() if name.lower() != "connection"]
                request = http.build_request(self.command, self.path.removeprefix(path), headers=headers, content=body)
                answer = http.send(request, stream=True)
                content = b"".join(answer.iter_raw())
                self.send_response(answer.status_code)
                for name, value in answer.headers.multi_items():
                    if name.lower() not in _NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - as the library calls them

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield strays
            finally:
                server.shutdown()
                thread.join()
