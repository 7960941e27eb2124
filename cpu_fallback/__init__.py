"""The arrival law as scalar functions, and the CPU kernels that loop over it.

`wide`, `philox`, `law`, `digest` and `route` hold scalar functions that numba compiles for the CPU and numba-cuda
compiles for the device: one source, two compilers. `streams`, `identifiers` and `alias` are the host-side steps
that run once before either backend. `expand`, with `draw` and `physical`, is the CPU backend's kernel.
"""
