"""The client's side of TLS between the parts of a Dask cluster."""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import reading

__all__ = ["SCHEME", "TlsFiles", "client_security", "is_tls", "private_security"]

SCHEME = "tls://"

# distributed.Security, whose methods carry no types.
Security: TypeAlias = Any


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the cluster's certificate authority, and this client's certificate and its key.

    key: None if the certificate's file holds the key too.
    """

    ca_file: Path
    cert: Path
    key: Path | None = None


def is_tls(scheduler: str) -> bool:
    """Whether a scheduler's address asks for TLS."""
    return scheduler.startswith(SCHEME)


def client_security(scheduler: str, files: TlsFiles | None) -> Security | None:
    """What a client of the scheduler shows and demands; None for an address without TLS.

    Without files, they are those of Dask's configuration. Raises OPTION_INVALID if it names none, or if the files are
    given for an address without TLS, and IO_READ_FAILED for a file that is missing or not what it should be.
    """
    if not is_tls(scheduler):
        if files is not None:
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"certificates are given, and {scheduler} is an address without TLS",
                hint=f"give the scheduler's address as {SCHEME}HOST:PORT",
                scheduler=scheduler,
            )
        return None
    security = _distributed().Security(**_fields(files), require_encryption=True)
    ca_file, cert, key = security.tls_ca_file, security.tls_client_cert, security.tls_client_key
    if not (ca_file and cert):
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{scheduler} asks for TLS, and neither options nor Dask's configuration name this client's certificates",
            hint="give --tls-ca-file, --tls-cert and --tls-key, in PEM format, made as for the cluster's workers",
            scheduler=scheduler,
        )
    # Dask's configuration may hold the texts themselves.
    if not any("\n" in text for text in (ca_file, cert, key or "")):
        _check(Path(ca_file), Path(cert), None if key is None else Path(key))
    return security


def private_security() -> Security:
    """Certificates that only this process and those to which it gives them have: no other user can join a cluster."""
    return _distributed().Security.temporary()


def _distributed() -> Any:
    return importlib.import_module("distributed")


def _fields(files: TlsFiles | None) -> dict[str, str]:
    if files is None:
        return {}
    named = {"tls_ca_file": files.ca_file, "tls_client_cert": files.cert, "tls_client_key": files.key or files.cert}
    return {name: os.fspath(path) for name, path in named.items()}


def _check(ca_file: Path, cert: Path, key: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with _read("the certificate authority", ca_file):
        context.load_verify_locations(ca_file)
    # OpenSSL does not say which of the two it cannot use.
    for path in (cert, key or cert):
        with reading("the certificate or its key,", path), path.open("rb"):
            pass
    both = f"the certificate {cert} with the key of" if key not in (None, cert) else "the certificate and key"
    with _read(both, key or cert):
        # Dask cannot ask for a passphrase, and OpenSSL would ask the terminal.
        context.load_cert_chain(cert, key, password="")


@contextmanager
def _read(what: str, path: Path) -> Iterator[None]:
    with reading(what, path):
        try:
            yield
        except ssl.SSLError as failure:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"cannot use {what} {path}: {failure.reason or failure}",
                hint="give PEM files: the authority that signed the cluster's certificates, a certificate that it "
                "signed, and its key without a passphrase",
                path=path,
            ) from failure
