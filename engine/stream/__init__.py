"""Arrivals of all merchants in time order, generated on the fly: batches for a program, bytes for a pipeline."""

from engine.stream.arrivals import stream_arrivals
from engine.stream.job import StreamOptions, StreamResult, stream_to

__all__ = ["StreamOptions", "StreamResult", "stream_arrivals", "stream_to"]
