"""Clusters that strangers cannot join: TLS with certificates of one authority, and a local cluster's own."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from types import SimpleNamespace

import distributed
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.cluster import client as cluster_client
from arrival_engine.engine.cluster.tls import TlsFiles, client_security
from tests.support.cluster import assert_same_outputs, dask_cluster

STRANGER = """
import logging, os, sys
import distributed
logging.disable(logging.CRITICAL)
mark, *addresses = sys.argv[1:]
for address in addresses:
    security = distributed.Security.temporary() if address.startswith("tls") else None
    try:
        client = distributed.Client(address, timeout=5, security=security)
    except OSError:
        print("kept out")
    else:
        client.run_on_scheduler(os.mkdir, mark)
"""


def stranger(mark, *addresses):
    """Another process of this machine, which knows only addresses of schedulers, tries to have code run.

    Returns how many of them kept it out.
    """
    words = [sys.executable, "-c", STRANGER, str(mark), *addresses]
    finished = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert finished.stderr == ""
    return finished.stdout.splitlines().count("kept out")


def forms(address):
    """The address of a scheduler with TLS, and the same without."""
    return address, address.replace("tls://", "tcp://")


def pem_key(key, passphrase=None):
    form = serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form)


class Authority:
    """Signs certificates, and writes them and their keys below a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(self._signed(self.name, self.key, authority=True))

    def _signed(self, subject, key, *, authority=False):
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, name):
        """A certificate and its key: apart, together, and with a passphrase."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._signed(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), key)
        files = SimpleNamespace(
            cert=self.folder / f"{name}.crt",
            key=self.folder / f"{name}.key",
            both=self.folder / f"{name}.both",
            locked=self.folder / f"{name}.locked",
        )
        files.cert.write_bytes(signed)
        files.key.write_bytes(pem_key(key))
        files.both.write_bytes(signed + pem_key(key))
        files.locked.write_bytes(pem_key(key, b"secret"))
        return files


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "cluster")


@pytest.fixture(scope="module")
def mine(authority):
    return authority.issue("client")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The certificate of a client whom another authority vouches for."""
    other = Authority(tmp_path_factory.mktemp("other"), "other")
    return TlsFiles(other.ca_file, (files := other.issue("foreign")).cert, files.key)


@pytest.fixture(scope="module")
def scheduler(authority):
    """The address of a cluster that speaks TLS alone, with one worker."""
    server = authority.issue("server")
    names = {
        f"tls_{role}_{part}": str(getattr(server, part))
        for role in ("scheduler", "worker", "client")
        for part in ("cert", "key")
    }
    security = distributed.Security(tls_ca_file=str(authority.ca_file), require_encryption=True, **names)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50, security=security
    ) as cluster:
        yield cluster.scheduler_address


def words(ca_file, cert, key=None):
    return ["--tls-ca-file", str(ca_file), "--tls-cert", str(cert), *(["--tls-key", str(key)] if key else [])]


def test_a_run_on_a_cluster_under_tls(scheduler, authority, mine, run_root, local):
    assert scheduler.startswith("tls://")
    files = words(authority.ca_file, mine.cert, mine.key)
    options = ["--batch-arrivals", "100", "--rng-events", "parquet", "--backend", "cpu"]
    assert main(["run", str(run_root), "--scheduler", scheduler, *options, *files]) == 0
    assert_same_outputs(run_root, local)


def test_a_key_in_the_file_of_its_certificate(scheduler, authority, mine):
    with cluster_client.open_client(scheduler, tls=TlsFiles(authority.ca_file, mine.both)) as client:
        assert client.submit(os.getppid).result() != os.getppid()


def test_files_that_the_configuration_of_dask_names(scheduler, authority, mine):
    import dask

    names = {"ca-file": authority.ca_file, "client.cert": mine.cert, "client.key": mine.key}
    with (
        dask.config.set({f"distributed.comm.tls.{name}": str(path) for name, path in names.items()}),
        cluster_client.open_client(scheduler) as client,
    ):
        assert client.submit(os.getppid).result() != os.getppid()


def test_strangers_are_kept_out(scheduler, foreign, authority, mine, tmp_path):
    assert stranger(tmp_path / "mark", *forms(scheduler)) == 2
    assert list(tmp_path.iterdir()) == []
    # Neither does a client take a scheduler that its authority has not signed, nor the scheduler such a client.
    for files in (
        foreign,
        TlsFiles(authority.ca_file, foreign.cert, foreign.key),
        TlsFiles(foreign.ca_file, mine.cert, mine.key),
    ):
        with pytest.raises(ArrivalError) as caught, cluster_client.open_client(scheduler, tls=files):
            pass
        assert caught.value.code is Code.CLUSTER_UNAVAILABLE
        assert scheduler in caught.value.message
        assert "the same authority signed its certificate and this client's" in caught.value.hint


def test_without_tls_a_stranger_has_code_run(tmp_path):
    """Which is what the documentation warns of, and what shows that the others' strangers are kept out by TLS."""
    with dask_cluster(0) as client:
        assert stranger(tmp_path / "mark", client.scheduler.address) == 0
    assert (tmp_path / "mark").exists()


def test_no_stranger_joins_a_local_cluster(tmp_path):
    """Its port is open to every user of the machine."""
    with cluster_client.open_client("local", 1) as client:
        address = client.scheduler.address
        assert client.submit(os.getppid).result() != os.getppid()
        assert stranger(tmp_path / "mark", *forms(address)) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tls-cert", "c"], "are for --scheduler tls://HOST:PORT"),
        (["--scheduler", "local", *words("a", "c")], "are for --scheduler tls://HOST:PORT"),
        (["--scheduler", "tcp://127.0.0.1:8786", *words("a", "c")], "are for --scheduler tls://HOST:PORT"),
        (["--scheduler", "tls://127.0.0.1:8786", "--tls-cert", "c"], "--tls-ca-file and --tls-cert together"),
        (["--scheduler", "tls://127.0.0.1:8786", "--tls-key", "c"], "--tls-ca-file and --tls-cert together"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_mean_nothing_together(options, says, capsys):
    assert main(["run", "world", *options]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_an_address_with_tls_and_no_certificate():
    with pytest.raises(ArrivalError) as caught, cluster_client.open_client("tls://127.0.0.1:8786"):
        pass
    assert caught.value.code is Code.OPTION_INVALID
    assert "--tls-ca-file, --tls-cert and --tls-key" in caught.value.hint


def test_certificates_for_an_address_without_tls(foreign):
    with pytest.raises(ArrivalError, match="is an address without TLS") as caught:
        client_security("tcp://127.0.0.1:8786", foreign)
    assert caught.value.code is Code.OPTION_INVALID


def test_files_that_cannot_be_used_are_named(authority, mine, tmp_path):
    absent, nonsense = tmp_path / "absent", tmp_path / "nonsense"
    nonsense.write_text("no certificate\n", encoding="utf-8")
    other = authority.issue("other")
    for files, named in (
        (TlsFiles(absent, mine.cert, mine.key), absent),
        (TlsFiles(authority.ca_file, absent, mine.key), absent),
        (TlsFiles(authority.ca_file, mine.cert, absent), absent),
        (TlsFiles(nonsense, mine.cert, mine.key), nonsense),
        (TlsFiles(authority.ca_file, nonsense, mine.key), nonsense),
        (TlsFiles(authority.ca_file, mine.cert, nonsense), nonsense),
        (TlsFiles(authority.ca_file, mine.cert), mine.cert),
        (TlsFiles(authority.ca_file, mine.cert, other.key), other.key),
        (TlsFiles(authority.ca_file, mine.cert, mine.locked), mine.locked),
    ):
        with pytest.raises(ArrivalError) as caught:
            client_security("tls://127.0.0.1:8786", files)
        assert caught.value.code is Code.IO_READ_FAILED
        assert str(named) in caught.value.message
