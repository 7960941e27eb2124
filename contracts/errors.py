"""The exception class `ArrivalError` with its codes, and `Notice` for warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from arrival_engine.contracts.safe_text import visible


class Code(StrEnum):
    """Error codes: the 20 canonical codes of 5B.S4, the 24 of 5B.S5 (members `S5_...`), then the engine's own.

    The contract's codes are about data. The engine's own are about the machine, the installation, the
    caller, and limits.
    """

    S0_GATE_MISSING_OR_INVALID = "5B.S4.S0_GATE_MISSING_OR_INVALID"
    UPSTREAM_HASHGATE_NOT_PASSED = "5B.S4.UPSTREAM_HASHGATE_NOT_PASSED"
    S1_OR_S3_OUTPUT_MISSING = "5B.S4.S1_OR_S3_OUTPUT_MISSING"
    TIME_GRID_MISMATCH = "5B.S4.TIME_GRID_MISMATCH"
    TS_OUTSIDE_BUCKET_WINDOW = "5B.S4.TS_OUTSIDE_BUCKET_WINDOW"
    DST_MAPPING_FAILED = "5B.S4.DST_MAPPING_FAILED"
    ROUTING_POLICY_INVALID = "5B.S4.ROUTING_POLICY_INVALID"
    SITE_RESOLUTION_FAILED = "5B.S4.SITE_RESOLUTION_FAILED"
    EDGE_RESOLUTION_FAILED = "5B.S4.EDGE_RESOLUTION_FAILED"
    ROUTING_UNIVERSE_HASH_MISMATCH = "5B.S4.ROUTING_UNIVERSE_HASH_MISMATCH"
    BUCKET_COUNT_MISMATCH = "5B.S4.BUCKET_COUNT_MISMATCH"
    SCHEMA_VIOLATION = "5B.S4.SCHEMA_VIOLATION"
    PARTITION_OR_PK_VIOLATION = "5B.S4.PARTITION_OR_PK_VIOLATION"
    RERUN_NONDETERMINISTIC = "5B.S4.RERUN_NONDETERMINISTIC"
    RNG_STREAM_CONFIG_INVALID = "5B.S4.RNG_STREAM_CONFIG_INVALID"
    RNG_ACCOUNTING_MISMATCH = "5B.S4.RNG_ACCOUNTING_MISMATCH"
    IO_READ_FAILED = "5B.S4.IO_READ_FAILED"
    IO_WRITE_FAILED = "5B.S4.IO_WRITE_FAILED"
    IO_WRITE_CONFLICT = "5B.S4.IO_WRITE_CONFLICT"
    UNEXPECTED_INTERNAL_ERROR = "5B.S4.UNEXPECTED_INTERNAL_ERROR"

    S5_S0_GATE_MISSING_OR_INVALID = "5B.S5.S0_GATE_MISSING_OR_INVALID"
    S5_UPSTREAM_HASHGATE_NOT_PASSED = "5B.S5.UPSTREAM_HASHGATE_NOT_PASSED"
    S5_DOMAIN_DISCOVERY_FAILED = "5B.S5.DOMAIN_DISCOVERY_FAILED"
    S5_S1_S3_GRID_DOMAIN_MISMATCH = "5B.S5.S1_S3_GRID_DOMAIN_MISMATCH"
    S5_S0_SEALED_INPUTS_INCONSISTENT = "5B.S5.S0_SEALED_INPUTS_INCONSISTENT"
    S5_COUNT_MISMATCH_S3_S4 = "5B.S5.COUNT_MISMATCH_S3_S4"
    S5_TIME_WINDOW_VIOLATION = "5B.S5.TIME_WINDOW_VIOLATION"
    S5_CIVIL_TIME_MAPPING_FAILED = "5B.S5.CIVIL_TIME_MAPPING_FAILED"
    S5_PHYSICAL_ROUTING_INVALID = "5B.S5.PHYSICAL_ROUTING_INVALID"
    S5_VIRTUAL_ROUTING_INVALID = "5B.S5.VIRTUAL_ROUTING_INVALID"
    S5_SITE_EDGE_FLAG_INCONSISTENT = "5B.S5.SITE_EDGE_FLAG_INCONSISTENT"
    S5_S4_SCHEMA_VIOLATION = "5B.S5.S4_SCHEMA_VIOLATION"
    S5_S4_PARTITION_OR_IDENTITY_VIOLATION = "5B.S5.S4_PARTITION_OR_IDENTITY_VIOLATION"
    S5_S4_PK_VIOLATION = "5B.S5.S4_PK_VIOLATION"
    S5_RNG_ACCOUNTING_INCOMPLETE = "5B.S5.RNG_ACCOUNTING_INCOMPLETE"
    S5_RNG_ACCOUNTING_MISMATCH = "5B.S5.RNG_ACCOUNTING_MISMATCH"
    S5_BUNDLE_INDEX_INVALID = "5B.S5.BUNDLE_INDEX_INVALID"
    S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH = "5B.S5.BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH"
    S5_BUNDLE_DIGEST_MISMATCH = "5B.S5.BUNDLE_DIGEST_MISMATCH"
    S5_FLAG_SCHEMA_VIOLATION = "5B.S5.FLAG_SCHEMA_VIOLATION"
    S5_IO_READ_FAILED = "5B.S5.IO_READ_FAILED"
    S5_IO_WRITE_FAILED = "5B.S5.IO_WRITE_FAILED"
    S5_IO_WRITE_CONFLICT = "5B.S5.IO_WRITE_CONFLICT"
    S5_UNEXPECTED_INTERNAL_ERROR = "5B.S5.UNEXPECTED_INTERNAL_ERROR"

    RESOURCES_INSUFFICIENT = "ARRIVALS.RESOURCES_INSUFFICIENT"
    BACKEND_UNAVAILABLE = "ARRIVALS.BACKEND_UNAVAILABLE"
    CLUSTER_UNAVAILABLE = "ARRIVALS.CLUSTER_UNAVAILABLE"
    DEPENDENCY_MISSING = "ARRIVALS.DEPENDENCY_MISSING"
    OPTION_INVALID = "ARRIVALS.OPTION_INVALID"
    LIMIT_EXCEEDED = "ARRIVALS.LIMIT_EXCEEDED"


def json_safe(value: object) -> object:
    """`value` with types that JSON lacks (paths, decimals, sets, ...) turned into text or lists."""
    if value is None or isinstance(value, (bool, int, str)):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, float):
        # NaN and the infinities have no JSON form.
        return value if value - value == 0.0 else repr(value)
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    return str(value)


class ArrivalError(Exception):
    """A failure: its code, what is wrong and where, what to do, and the values involved."""

    def __init__(self, code: Code, message: str, *, hint: str = "", **context: object) -> None:
        super().__init__(message)
        self.code = Code(code)
        self.message = message
        self.hint = hint
        self.context: dict[str, object] = dict(context)

    def __str__(self) -> str:
        # For people: Python prints it to the terminal of a program that does not catch it. `message` is as it is.
        return visible(f"{self.code.value}: {self.message}")

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own pickling calls the class with only `args` and would lose the code.
        return _restore, (self.code, self.message, self.hint, self.context)

    def to_dict(self) -> dict[str, object]:
        """JSON-safe form: `code`, `message`, `hint`, `context`."""
        return {
            "code": self.code.value,
            "message": self.message,
            "hint": self.hint,
            "context": json_safe(self.context),
        }


def unforeseen(failure: Exception, code: Code = Code.UNEXPECTED_INTERNAL_ERROR) -> ArrivalError:
    """The `ArrivalError` for an unexpected exception: lack of memory, space or files, else a defect, `code`."""
    from arrival_engine.contracts.oserrors import lack_of_memory, of_the_system, reason, refusal

    if lack_of_memory(failure):
        return refusal(code, f"out of memory: {reason(failure)}", failure, "")
    if isinstance(failure, RuntimeError) and "can't start new thread" in str(failure):
        return ArrivalError(
            Code.RESOURCES_INSUFFICIENT,
            "the system refuses this process another thread",
            hint="lower --threads, or raise `ulimit -u`, the control group's pids.max, or the limit of memory",
        )
    write_failed = Code.S5_IO_WRITE_FAILED if code.name.startswith("S5_") else Code.IO_WRITE_FAILED
    if named := of_the_system(failure, write_failed):
        return named
    return ArrivalError(
        code,
        f"{type(failure).__name__}: {failure}",
        hint="this is a defect of the engine; run again with --debug and report the traceback",
    )


def _restore(code: Code, message: str, hint: str, context: dict[str, object]) -> ArrivalError:
    return ArrivalError(code, message, hint=hint, **context)


@dataclass(frozen=True)
class Notice:
    """A warning: a short code, a sentence, and the values involved."""

    code: str
    message: str
    context: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """JSON-safe form: `code`, `message`, `context`."""
        return {"code": self.code, "message": self.message, "context": json_safe(self.context)}
