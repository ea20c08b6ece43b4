"""HTTP hosts in a thread of their own, for tests of commands, which run a loop of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def host_in_thread(
    answer: Callable[[str, str], bytes], heed: Callable[[str, Message], None] = lambda _, headers: None
) -> Iterator[str]:
    """Answer each request with 200 and what `answer` returns for its method and path; the origin.

    Args:
        heed: Called before with the path and the headers.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer("POST")

        def _answer(self, method: str) -> None:
            heed(self.path, self.headers)
            body = answer(method, self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
