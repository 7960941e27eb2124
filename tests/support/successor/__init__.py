"""The kernels compiled by numba-cuda-mlir, the successor of numba-cuda, and executed like numba-cuda's.

jit           stands in for `gpu_kernels.jit`, under the unchanged source of the kernels
compiling     PTX of the kernels, made in a process of its own
executed      the PTX in a form that `tests.support.ptx` executes, and the parameters of a launch
local_memory  local memory as a part of global memory, for that form
launching     launches by numba-cuda-mlir itself and by the product, on a driver that computes nothing
defects       what stands in the way of numba-cuda-mlir, each with the least source that shows it
asked         the answer to numba-cuda-mlir's question for a device
"""
