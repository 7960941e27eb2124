"""Parts made on a Dask cluster: the plan of a local run, expanded by workers that share a file system.

    survey      workers read the counts once and add them up by (merchant, bucket); the client merges the sums
    blocks      the count rows as the survey leaves them for the shards
    shards      the client cuts the same batches as a local run, and hands out contiguous ranges of them
    tasks       a worker takes the count rows of its shard, writes the parts and hands them in
    depot       where it hands them in: the seam behind which a store other than a file system would go
    ledgers     the client reads back the sums per count row, some merchants at a time
    production  `DaskMaker`, which does all of it for one scenario; client, tls and receipts serve it

Large data lies in files; only segment sums, shards and receipts pass through the scheduler.
"""
