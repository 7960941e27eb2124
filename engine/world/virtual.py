"""Virtual merchants: modes, settlement zones, edges and the 3B alias blob."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.alias import blob_thresholds, pack
from arrival_engine.cpu_fallback.law import HYBRID, MODES, NON_VIRTUAL
from arrival_engine.cpu_fallback.tables import Edges
from arrival_engine.engine.alias_blobs.decode import AliasSlices
from arrival_engine.engine.alias_blobs.inputs import edge_slices
from arrival_engine.engine.alias_blobs.layout import LAYOUT
from arrival_engine.engine.rundir.inputs import locate_files, read_bytes, read_document, read_table
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.world.codes import codes_in, only_merchants, starts_of, texts_of


@dataclass(frozen=True)
class VirtualMerchants:
    """mode: int8[M]; settlement: object[M], tzid or None."""

    mode: NDArray[np.int8]
    settlement: NDArray[np.object_]


@dataclass(frozen=True)
class EdgeList:
    """Alias slots of the world's virtual merchants, ordered by (merchant, edge_id); bounds int64[M + 1]."""

    start: NDArray[np.int64]
    packed: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    tzids: NDArray[np.object_]


def load_virtual_merchants(receipt: Receipt, merchant_ids: NDArray[np.uint64]) -> VirtualMerchants:
    """Mode and settlement zone of each merchant. Raises ROUTING_POLICY_INVALID, EDGE_RESOLUTION_FAILED."""
    table = read_table(receipt, "virtual_classification_3B", ("merchant_id", "is_virtual", "virtual_mode"))
    table, merchant = only_merchants(table, merchant_ids)
    _refuse_repeats("virtual_classification_3B", merchant, merchant_ids, Code.ROUTING_POLICY_INVALID)
    if merchant.size < merchant_ids.size:
        absent = merchant_ids[np.setdiff1d(np.arange(merchant_ids.size), merchant)[0]]
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            f"merchant {absent} has arrivals but no row in virtual_classification_3B",
            hint="classify every merchant that has counts; a mode is never guessed",
            merchant_id=int(absent),
        )
    modes = texts_of(table["virtual_mode"])
    codes = codes_in(modes, MODES)
    contradiction = table["is_virtual"].to_numpy(zero_copy_only=False) != (codes != NON_VIRTUAL)
    contradiction &= codes != HYBRID
    if contradiction.any():
        row = int(np.argmax(contradiction))
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            f"virtual_classification_3B: is_virtual contradicts virtual_mode {modes[row]} of merchant "
            f"{merchant_ids[merchant[row]]}",
            hint="is_virtual must be true exactly for virtual modes",
        )
    mode = np.empty(merchant_ids.size, np.int8)
    mode[merchant] = codes
    return VirtualMerchants(mode, _load_settlement(receipt, merchant_ids))


def _load_settlement(receipt: Receipt, merchant_ids: NDArray[np.uint64]) -> NDArray[np.object_]:
    table = read_table(receipt, "virtual_settlement_3B", ("merchant_id", "tzid_settlement"))
    table, merchant = only_merchants(table, merchant_ids)
    _refuse_repeats("virtual_settlement_3B", merchant, merchant_ids, Code.EDGE_RESOLUTION_FAILED)
    settlement = np.full(merchant_ids.size, None, dtype=object)
    settlement[merchant] = texts_of(table["tzid_settlement"])
    return settlement


def _refuse_repeats(dataset_id: str, merchant: NDArray[np.int64], merchant_ids: NDArray[np.uint64], code: Code) -> None:
    distinct, counts = np.unique(merchant, return_counts=True)
    if (counts > 1).any():
        repeated = merchant_ids[distinct[counts > 1][0]]
        raise ArrivalError(
            code,
            f"{dataset_id} has several rows for merchant {repeated}",
            hint="merchant_id must be unique there",
            dataset=dataset_id,
            merchant_id=int(repeated),
        )


def load_edges(receipt: Receipt, merchant_ids: NDArray[np.uint64], mode: NDArray[np.int8]) -> EdgeList:
    """Edges and their alias slots, blob and index verified first. Raises EDGE_RESOLUTION_FAILED."""
    slices = edge_slices(receipt)
    # The blob's slots replace the weights; the weights are read only so that an invalid one is refused.
    table = read_table(receipt, "edge_catalogue_3B", ("merchant_id", "edge_id", "tzid_operational", "edge_weight"))
    return edge_list(slices, table, merchant_ids, mode)


def edge_list(
    slices: AliasSlices, catalogue: pa.Table, merchant_ids: NDArray[np.uint64], mode: NDArray[np.int8]
) -> EdgeList:
    """The edges of a catalogue with the slots of its alias tables. Raises EDGE_RESOLUTION_FAILED."""
    table, merchant = only_merchants(catalogue, merchant_ids)
    virtual = mode[merchant] != NON_VIRTUAL
    table, merchant = table.filter(pa.array(virtual)), merchant[virtual]
    names = texts_of(table["edge_id"]).astype("S16")
    order = np.lexsort((names, merchant))
    merchant, names = merchant[order], names[order]
    same = (merchant[1:] == merchant[:-1]) & (names[1:] == names[:-1])
    if same.any():
        row = int(np.argmax(same))
        raise _edge_error(merchant_ids[merchant[row]], f"edge {names[row].decode()} is listed twice")
    start = starts_of(merchant, merchant_ids.size)
    ids = np.frombuffer(bytes.fromhex(b"".join(names.tolist()).decode()), ">u8").astype(np.uint64)
    if not ids.all():
        raise _edge_error(merchant_ids[merchant[np.argmin(ids)]], "edge 0000000000000000: zero is not a valid id")
    return EdgeList(
        start=start,
        packed=_alias_slots(slices, merchant_ids, mode, start),
        ids=ids,
        tzids=texts_of(table["tzid_operational"])[order],
    )


def _alias_slots(
    slices: AliasSlices, merchant_ids: NDArray[np.uint64], mode: NDArray[np.int8], start: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """The packed slots of the virtual merchants, in merchant order: one per edge, possibly none."""
    parts = [np.empty(0, np.uint64)]
    position = {int(merchant): at for at, merchant in enumerate(slices.merchant.tolist())}
    for index in np.flatnonzero(mode != NON_VIRTUAL):
        at = position.get(int(merchant_ids[index]))
        edges = int(start[index + 1] - start[index])
        span = slice(0, 0) if at is None else slice(int(slices.start[at]), int(slices.start[at + 1]))
        if span.stop - span.start != edges:
            problem = f"the alias index has {span.stop - span.start} slots, the catalogue {edges} edges"
            raise _edge_error(merchant_ids[index], problem)
        if at is not None:
            thresholds = blob_thresholds(slices.prob_q[span], int(slices.qbits[at]))
            parts.append(pack(thresholds, slices.alias[span]))
    return np.concatenate(parts)


def _edge_error(merchant: Any, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.EDGE_RESOLUTION_FAILED,
        f"edge_catalogue_3B, merchant {merchant}: {problem}",
        hint="edge catalogue, alias blob and alias index must come from one 3B run",
        merchant_id=int(merchant),
    )


def build_edges(edges: EdgeList, tzids: Sequence[str]) -> Edges:
    """The edge tables with coded zones."""
    return Edges(edges.packed, edges.ids, codes_in(edges.tzids, tzids).astype(np.int32))


def verified_universe_hash(receipt: Receipt) -> str:
    """3B's universe hash, recomputed from its components and compared with the routing policy's.

    Defined in docs/reference/layouts.md, "Universe hash". Raises ROUTING_UNIVERSE_HASH_MISMATCH, and
    ROUTING_POLICY_INVALID for a policy that demands what the law does not do.
    """
    stated = read_document(receipt, "edge_universe_hash_3B")
    for component, dataset_id in (
        ("edge_alias_index_digest", "edge_alias_index_3B"),
        ("edge_catalogue_index_digest", "edge_catalogue_index_3B"),
    ):
        content = b"".join(read_bytes(receipt, path) for path in locate_files(receipt, dataset_id))
        found = hashlib.sha256(content).hexdigest()
        if found != stated[component]:
            raise _universe_mismatch(f"{component} is {stated[component]}, but {dataset_id} hashes to {found}")
    parts = (
        "cdn_weights_digest",
        "edge_alias_index_digest",
        "edge_catalogue_index_digest",
        "virtual_rules_digest",
    )
    computed = hashlib.sha256(b"".join(bytes.fromhex(stated[part]) for part in parts)).hexdigest()
    if computed != stated["universe_hash"]:
        raise _universe_mismatch(f"its components hash to {computed}, but it states {stated['universe_hash']}")
    policy = read_document(receipt, "virtual_routing_policy_3B")
    layout = policy["alias_layout_version"]
    if layout != LAYOUT.layout_version:
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            f"virtual_routing_policy_3B is for alias layout {layout!r}, not {LAYOUT.layout_version!r}",
            hint="routing policy and alias blob must come from one 3B run",
        )
    if policy["edge_universe_hash"] != computed:
        raise _universe_mismatch(f"virtual_routing_policy_3B expects {policy['edge_universe_hash']}, found {computed}")
    if policy.get("overrides"):
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            "virtual_routing_policy_3B has overrides; a merchant's mode comes from virtual_classification_3B alone",
            hint="apply the overrides in the classification and leave the list empty",
        )
    return computed


def _universe_mismatch(problem: str) -> ArrivalError:
    return ArrivalError(
        Code.ROUTING_UNIVERSE_HASH_MISMATCH,
        f"edge_universe_hash_3B: {problem}",
        hint="edge files and universe hash must come from one 3B run",
    )
