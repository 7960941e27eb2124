"""A run on a Dask cluster: the plan of a local run, its batches expanded by workers that share a file system.

    survey      workers add up the counts by (merchant, bucket); the client merges the sums
    shards      the client cuts the same batches as a local run, and hands out contiguous ranges of them
    tasks       a worker reads the count rows of its shard and writes its parts, each by rename
    ledgers     the client reads back what came of every count row, some merchants at a time
    production  all of it, for one scenario

Whatever is large lies in files; through the scheduler go segment sums, shards and receipts.
"""
