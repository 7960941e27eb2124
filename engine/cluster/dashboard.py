"""Whether a scheduler has the dashboard whose address it gives."""

from __future__ import annotations

import http.client
import urllib.request

__all__ = ["answering"]

_PATIENCE_S = 2.0
# On the page that Dask serves in place of its dashboard.
_NO_DASHBOARD = b"Dask needs bokeh"


def answering(link: str | None) -> str | None:
    """The address of Dask's dashboard if a page answers there; without bokeh, Dask names one where there is none."""
    if not link:
        return None
    try:
        # The address is the scheduler's own, and no proxy knows it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(link, timeout=_PATIENCE_S) as page:
            return None if _NO_DASHBOARD in page.read() else link
    except (OSError, ValueError, http.client.HTTPException):
        return None
