"""As much of Label Studio as a server asks about the projects that callers name: which there are, and their entries."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class LabelStudioStub:
    """Holds projects by id, each with the entries of its backends, as a context manager.

    Attributes
    ----------
    projects
        For each project the entries of its backends: their address and extra parameters.
    broken
        Whether it answers nothing but 404, and so knows no user either.
    looked_at
        Called when somebody looks at a project's entries: Label Studio then calls each backend's ``/setup``.
    calls
        The addresses that were asked for.
    """

    def __init__(self):
        self.projects = {}
        self.broken = False
        self.looked_at = lambda: None
        self.calls: list[str] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                stub.calls.append(self.path)
                status, body = stub._answer(self.path)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, address):
        path, query = urlsplit(address).path, urlsplit(address).query
        number = int(found[0]) if (found := re.findall(r"\d+", path if "projects" in path else query)) else None
        if self.broken or ("whoami" not in path and number not in self.projects):
            return 404, {"detail": "Not found."}
        if "whoami" in path:
            return 200, {"id": 1, "email": "a@example.org"}
        if "/api/ml" in path:
            self.looked_at()
            return 200, [
                {"id": place, "url": url, "project": number, "extra_params": extra}
                for place, (url, extra) in enumerate(self.projects[number])
            ]
        created = "2026-01-01T00:00:00Z"
        return 200, {"id": number, "title": f"project {number}", "label_config": "<View/>", "created_at": created}
