"""One batch of codes to the bytes of a Parquet part."""
