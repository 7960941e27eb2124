"""Measurements of this project on the machine at hand: `python -m bench --help`.

A benchmark is a module with two functions: `measure(workplace) -> dict` takes raw figures, and `tables(measured) ->
list[Table]` says what they amount to, for the terminal and for docs/performance.md. `bench.catalogue` lists them.
"""
