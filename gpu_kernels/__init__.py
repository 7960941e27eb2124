"""CUDA kernels over the scalar law of `cpu_fallback`. Importing this package loads nothing of CUDA."""
