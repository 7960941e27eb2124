"""LLVM IR as machine code of this process."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

__all__ = ["NativeThread"]


class NativeThread:
    """The compiled function `thread`; its code lives as long as this object.

    optimise: 0 compiles the largest kernel in half a second; 1 and 2 take two and three times as long, for code that is
    up to twice as fast.
    """

    def __init__(self, text: str, optimise: int) -> None:
        machine = _target().create_target_machine(
            opt=optimise, cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True
        )
        module = llvm.parse_assembly(text)
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=optimise)
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        self._engine = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        self.address = self._engine.get_function_address("thread")


@cache
def _target() -> llvm.Target:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()
