"""Arrivals of all merchants in time order, generated on the fly: batches for a program, bytes for a pipeline."""

from arrival_engine.engine.stream.arrivals import stream_arrivals
from arrival_engine.engine.stream.job import StreamOptions, StreamResult, stream_to

__all__ = ["StreamOptions", "StreamResult", "stream_arrivals", "stream_to"]
