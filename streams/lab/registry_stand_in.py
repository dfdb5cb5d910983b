"""A small stand-in for a Confluent schema registry: the few requests that the client sends.

No registry that Python alone can run is to be had from the package index.  What is tested with
this is our side and confluent-kafka's client and serializer, which are real.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class StandIn:
    """A registry on a port of 127.0.0.1 that it keeps while it is stopped; a context manager."""

    def __init__(self) -> None:
        self.schemas: dict[int, str] = {}
        self._subjects: dict[str, list[int]] = {}
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> StandIn:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Answer from now on."""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*stand_in._get(self.path.partition("?")[0]))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(*stand_in._post(self.path.partition("?")[0], body))

            def _answer(self, status: int, content: Any) -> None:
                written = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _get(self, path: str) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if parts[:2] == ["schemas", "ids"] and len(parts) == 3:
            found = self.schemas.get(int(parts[2]))
            if found is not None:
                return 200, {"schema": found}
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _post(self, path: str, body: Any) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if parts[0] != "subjects":
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        text = body["schema"]
        known = next((n for n, schema in self.schemas.items() if schema == text), None)
        if len(parts) == 2:  # a look-up
            if known is None:
                return 404, {"error_code": 40403, "message": "Schema not found"}
        elif known is None:
            known = len(self.schemas) + 1
            self.schemas[known] = text
        versions = self._subjects.setdefault(parts[1], [])
        if known not in versions:
            versions.append(known)
        version = versions.index(known) + 1
        return 200, {"id": known, "subject": parts[1], "version": version, "schema": text}
