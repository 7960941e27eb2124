"""A REST catalog of Iceberg's protocol, as far as exports need it: a SQL catalog behind HTTP, in this process."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace


class _Server(ThreadingHTTPServer):
    def __init__(self, catalog: _Known) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.catalog, self.seen = catalog, []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        path = self._parts()
        if path == ["config"]:
            return self._answer({"defaults": {}, "overrides": {}})
        try:
            if len(path) == 2:
                return self._answer(
                    {"namespace": [path[1]], "properties": self._catalog.load_namespace_properties(path[1])}
                )
            return self._answer(_loaded(self._catalog.load_table((path[1], path[3]))))
        except LookupError:
            return self._missing("NoSuchTableException")

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        from pyiceberg.exceptions import CommitFailedException
        from pyiceberg.table import CommitTableRequest

        path, body = self._parts(), self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(f"POST /{'/'.join(path)}")
        if path == ["namespaces"]:
            self._catalog.create_namespace_if_not_exists(tuple(json.loads(body)["namespace"]))
            return self._answer(json.loads(body))
        if path[-1] == "tables":
            return self._answer(_staged(json.loads(body)))
        request = CommitTableRequest.model_validate_json(body)
        named = SimpleNamespace(name=lambda: (path[1], path[3]))
        try:
            return self._answer(_loaded(self._catalog.commit_table(named, request.requirements, request.updates)))
        except CommitFailedException as failure:
            return self._answer(_error("CommitFailedException", str(failure), 409), 409)

    @property
    def _catalog(self):
        return self.server.catalog

    def _parts(self):
        return self.path.partition("?")[0].strip("/").split("/")[1:]

    def _missing(self, kind):
        return self._answer(_error(kind, "it is not there", 404), 404)

    def _answer(self, document, status=200):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        """Silent."""


def _error(kind, message, code):
    return {"error": {"type": kind, "message": message, "code": code}}


def _loaded(table):
    return {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json()),
        "config": {},
    }


def _staged(body):
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import new_table_metadata
    from pyiceberg.table.sorting import SortOrder

    metadata = new_table_metadata(
        Schema.model_validate(body["schema"]),
        PartitionSpec.model_validate(body["partition-spec"]),
        SortOrder.model_validate(body["write-order"]),
        body["location"],
        body["properties"],
    )
    return {"metadata": json.loads(metadata.model_dump_json()), "config": {}}


@contextmanager
def rest_catalog(folder: Path):
    """A catalog's URL, and the changes that were asked of it."""
    from pyiceberg.catalog.sql import SqlCatalog

    server = _Server(_Known(SqlCatalog("behind", uri=f"sqlite:///{folder}/behind.sqlite", warehouse=str(folder))))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.catalog.close()


class _Known:
    """A catalog whose missing namespaces and tables are LookupErrors."""

    def __init__(self, catalog):
        self._catalog = catalog

    def __getattr__(self, name):
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        def call(*arguments):
            try:
                return getattr(self._catalog, name)(*arguments)
            except (NoSuchNamespaceError, NoSuchTableError) as failure:
                raise LookupError from failure

        return call
