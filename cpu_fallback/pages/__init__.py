"""Parquet pages straight from columns of codes: scalar parts, the pages of a column, and a file's frame around them.

    words      unaligned words of a byte buffer, the one part that depends on the machine
    bits       varints, runs, bit packing and delta blocks
    digits     times as RFC 3339 text
    layout     the tables that pages and chunks are described in
    codes      columns of few values: dictionaries, runs, packed codes
    numbers    columns of integers: deltas, plain words, flags
    texts      columns of times as text
    frame      headers, page index and footer

docs/reference/part-files.md says which encoding each column has, and why.
"""
