"""Execution of the kernels' PTX on a CPU, with every memory access checked.

    compile     a kernel's PTX, as devices run it
    parse       PTX text as instructions and blocks; `flow` says which registers are live where
    translate   a kernel as LLVM IR that runs one thread to its next barrier, from `emitter`, `arithmetic`, `accesses`
                and `checks`; `native` makes machine code of it
    scheduler   the threads of a block, one after the other from barrier to barrier
    launch      a grid of blocks, with its faults and the blocks of PTX that ran
    memory      device memory, as `gpu_kernels.memory` describes it, with the state of every byte

Nothing is skipped: an instruction, operand or directive that these modules do not know raises UnknownPtxError with its
line. A thread runs alone from barrier to barrier, so an execution shows one order of the threads; accesses that would
depend on the order are faults.
"""
