"""Iceberg catalogs: one in the target by default, or the user's by URL or by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.safe_text import visible
from arrival_engine.engine.exporting.store_options import iceberg_options
from arrival_engine.engine.exporting.trees import FolderTree, StoreTree, busy, tree_of
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

__all__ = ["CATALOG", "CATALOG_FILE", "TABLE", "open_catalog", "opening", "told"]

# The catalog's own name, by which rows of a SQL catalog are kept apart, and the table's.
CATALOG = "arrivals"
TABLE = "arrivals.events"
CATALOG_FILE = "catalog.sqlite"
_CHECK = (
    "check --catalog: a URL (sqlite:///PATH, https://HOST), or a name in ~/.pyiceberg.yaml "
    "(https://py.iceberg.apache.org/configuration/)"
)
_OWN = "check that its disk has room; if the file is damaged, remove the target"
_GONE = "the catalog names files that are gone: drop the table from the catalog, or name another target"


def open_catalog(catalog: str | None, tree: FolderTree | StoreTree) -> Catalog:
    """The catalog at a URL, of a name in the user's .pyiceberg.yaml, or by default the SQLite file in the target.

    The file is made if it is missing. Raises OPTION_INVALID, IO_READ_FAILED.
    """
    from pyiceberg.catalog import load_catalog

    files = iceberg_options(tree.store) if isinstance(tree, StoreTree) else {}
    if catalog is None:
        url = _own_url(tree)
        with told(tree, Code.IO_READ_FAILED, "open the catalog of", _OWN):
            from pyiceberg.catalog.sql import SqlCatalog

            return SqlCatalog(CATALOG, uri=url, warehouse=tree.url, **files)
    with told(tree, Code.IO_READ_FAILED, f"open the catalog {visible(catalog)} for", _CHECK):
        if "://" not in catalog:
            return load_catalog(catalog, **files)
        _check_url(catalog)
        return load_catalog(CATALOG, type=_kind(catalog), uri=catalog, warehouse=tree.url, **files)


def _own_url(tree: FolderTree | StoreTree) -> str:
    if isinstance(tree, StoreTree):
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"a table in {tree} needs a catalog: SQLite cannot work in an object store",
            hint="name a catalog: --catalog sqlite:///absolute/path/catalog.sqlite, or one of your .pyiceberg.yaml",
        )
    return sqlite_url(f"{tree.url}/{CATALOG_FILE}")


def sqlite_url(path: str) -> str:
    """SQLAlchemy's URL of a SQLite file, absolute."""
    from sqlalchemy.engine import URL, make_url

    url = URL.create("sqlite", database=path).render_as_string()
    if make_url(url).database != path:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{visible(path)} has characters in its path that the URL of a catalog cannot hold",
            hint="name another target, or a catalog elsewhere: --catalog sqlite:///absolute/path/catalog.sqlite",
        )
    return url


def _check_url(catalog: str) -> None:
    try:
        holds_secret = urlsplit(catalog).password is not None
    except ValueError as failure:
        raise ArrivalError(
            Code.OPTION_INVALID, f"the catalog's URL is not valid: {failure}", hint="write --catalog sqlite:///PATH"
        ) from failure
    if holds_secret:
        # Commands are seen by other users of the machine, and end up in histories.
        raise ArrivalError(
            Code.OPTION_INVALID,
            "the catalog's URL has a password in it",
            hint="put the catalog into ~/.pyiceberg.yaml, and give its name: --catalog NAME",
        )


def opening(place: Place, catalog: str | None, table: str | None) -> str:
    """The Python expression of the table, which needs `load_catalog`."""
    tree = tree_of(place)
    words: dict[str, str] = {}
    name = CATALOG
    if catalog is None:
        words = {"type": "sql", "uri": _own_url(tree)}
    elif "://" in catalog:
        words = {"type": _kind(catalog), "uri": catalog}
    else:
        name = catalog
    files = iceberg_options(tree.store) if isinstance(tree, StoreTree) else {}
    given = "".join(f", {word}={value!r}" for word, value in words.items())
    given += f", **{files!r}" if files else ""
    return f"load_catalog({name!r}{given}).load_table({table or TABLE!r})"


def _kind(url: str) -> str:
    return "rest" if urlsplit(url).scheme in ("http", "https") else "sql"


@contextmanager
def told(tree: FolderTree | StoreTree, code: Code, verb: str, hint: str = "") -> Iterator[None]:
    """Failures of pyiceberg, its catalogs and its files as ArrivalErrors."""
    import pyarrow as pa
    import pyiceberg.exceptions as theirs

    try:
        yield
    except (theirs.CommitFailedException, theirs.TableAlreadyExistsError, theirs.ValidationException) as failure:
        raise busy(str(tree), "run the same command again: it compares what is there") from failure
    except FileNotFoundError as failure:
        raise _renamed(tree.failure(code, verb, failure), hint or _GONE) from failure
    except ImportError as failure:
        raise ArrivalError(
            Code.DEPENDENCY_MISSING,
            f"this catalog needs a package that this installation lacks: {failure}",
            hint="pip install 'arrival-engine[iceberg]', or the package that the message names",
        ) from failure
    except (OSError, ValueError, pa.ArrowException) as failure:
        raise _renamed(tree.failure(code, verb, failure), hint) from failure
    except Exception as failure:
        # The exceptions of pyiceberg have no base of their own, those of its HTTP client are OSErrors, and SQLAlchemy
        # is not there for every catalog.
        if type(failure).__module__ not in (theirs.__name__, "sqlalchemy.exc"):
            raise
        raise _renamed(tree.failure(code, verb, _first(failure)), hint) from failure


def _renamed(error: ArrivalError, hint: str) -> ArrivalError:
    """The error with another hint, if there is one."""
    return ArrivalError(error.code, error.message, hint=hint, **error.context) if hint else error


def _first(failure: Exception) -> Exception:
    """The database's own exception, whose message has no SQL in it."""
    original = getattr(failure, "orig", None)
    return original if isinstance(original, Exception) else failure
