"""The address of Dask's dashboard, said only where a dashboard is."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import distributed
import pytest

from arrival_engine.engine.cluster.dashboard import answering


@contextmanager
def served(status, page):
    """The address of a page with that status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/status"
        finally:
            server.shutdown()
            thread.join()


def test_a_page_that_answers(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with served(200, b"<title>Dask: Status</title>") as link:
        assert answering(link) == link


@pytest.mark.parametrize(("status", "page"), [(404, b"404: Not Found"), (500, b""), (200, b"<p>Dask needs bokeh")])
def test_a_page_in_place_of_the_dashboard(status, page):
    with served(status, page) as link:
        assert answering(link) is None


def test_no_page():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert answering(f"http://127.0.0.1:{taken.getsockname()[1]}/status") is None
    for link in (None, "", "/proxy/status", "http://"):
        assert answering(link) is None


@pytest.mark.parametrize("address", ["127.0.0.1:0", None])
def test_the_page_that_dask_serves_without_bokeh_is_known(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with (
        distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=address) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert answering(client.dashboard_link) is None
