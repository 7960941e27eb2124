"""moto's server, which answers one request at a time: `python -m tests.support.s3_app PORT`.

Two requests for one key at once, which are nothing to a store, are an internal error of moto's now and then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

_moto = DomainDispatcherApplication(create_backend_app)
_turn = threading.Lock()


def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Read the body, however slowly it comes, and have moto answer when it is this request's turn."""
    body = environ["wsgi.input"]
    data = body.read() if environ.get("wsgi.input_terminated") else body.read(int(environ.get("CONTENT_LENGTH") or 0))
    with _turn:
        answered = _moto({**environ, "wsgi.input": BytesIO(data), "CONTENT_LENGTH": str(len(data))}, start_response)
        return [b"".join(answered)]


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), answer, threaded=True, request_handler=MotoRequestHandler)
