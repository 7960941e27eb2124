"""How the libraries of table formats reach a store: the endpoint and the options that runs use.

Credentials are not among them: each library takes them from the environment, as pyarrow does.
"""

from __future__ import annotations

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.storage.store import Store, s3_settings
from arrival_engine.engine.storage.url import StoreUrl

__all__ = ["delta_options", "iceberg_options"]


def delta_options(store: Store) -> dict[str, str]:
    """Deltalake's `storage_options`."""
    settings = _settings(store)
    found = {"AWS_REGION": settings["region"]}
    if "endpoint_override" in settings:
        scheme = settings.get("scheme", "https")
        found["AWS_ENDPOINT_URL"] = f"{scheme}://{settings['endpoint_override']}"
        found["AWS_ALLOW_HTTP"] = "true" if scheme == "http" else "false"
    if settings.get("anonymous") == "true":
        found["AWS_SKIP_SIGNATURE"] = "true"
    for theirs, ours in (("connect_timeout", "connect_timeout"), ("timeout", "request_timeout")):
        if ours in settings:
            found[theirs] = f"{settings[ours]}s"
    if "max_attempts" in settings:
        found["max_retries"] = str(int(settings["max_attempts"]) - 1)
    return found


def iceberg_options(store: Store) -> dict[str, str]:
    """Properties of pyiceberg's FileIO."""
    settings = _settings(store)
    found = {"s3.region": settings["region"]}
    if "endpoint_override" in settings:
        found["s3.endpoint"] = f"{settings.get('scheme', 'https')}://{settings['endpoint_override']}"
    for name in ("anonymous", "connect_timeout", "request_timeout"):
        if name in settings:
            found[f"s3.{name.replace('_', '-')}"] = settings[name]
    return found


def _settings(store: Store) -> dict[str, str]:
    place = store.place
    if not isinstance(place, StoreUrl) or place.scheme != "s3":
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{store} is not in a store that table formats are exported to",
            hint="name a directory or an s3:// URL, or --to parquet",
        )
    return {"region": store.filesystem.region, **s3_settings(place)}
