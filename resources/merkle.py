"""One hash for a set of keyed rows, and proofs that a key is, or is not, among them.

Leaves are pairs (SHA-256 of the key, SHA-256 of the value) in ascending order of the first, so that two
neighbours prove that nothing lies between them, and a proof gives away no other row's key. Sixteen leaves make
a node, sixteen nodes the node above: a set of ten million has six levels, and hashing the tree costs a small
part of hashing its rows.

    node of leaves   SHA-256(0x00, key hash, value hash, key hash, value hash, …)
    node of nodes    SHA-256(0x01, node, node, …)
    root             SHA-256(0x02, number of leaves as eight bytes big-endian, topmost node)

The topmost node of an empty set is 32 zeros. The bytes in front keep leaves, nodes and roots apart.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resources.row_hashes import HASH_FIELD

FAN_OUT = 16
_WIDTH = 32
_AT_ONCE = FAN_OUT << 14  # leaves that are brought into order at once
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MerkleTree:
    """A tree over n leaves.

    `leaves` uint8 (n, 64) are the pairs of hashes in order; `levels` the nodes above them, from the lowest:
    uint8 (m, 32) each, the topmost of one node.
    """

    leaves: Bytes
    levels: tuple[Bytes, ...]

    @property
    def root(self) -> str:
        """64 hexadecimal digits."""
        return _root(len(self.leaves), self.levels)

    def proof(self, key_hash: bytes) -> dict[str, Any]:
        """What shows that a key is among the leaves, or is not, as JSON values.

        `leaves` are the ones that show it: the key's own; or its two neighbours, of which one is lacking at an
        end. Each has its `place`, its two hashes, and `nodes`: for each level the children of the node above it, in
        hexadecimal.
        """
        place = self._place(key_hash)
        found = place < len(self.leaves) and self.leaves[place, :_WIDTH].tobytes() == key_hash
        places = [place] if found else [one for one in (place - 1, place) if 0 <= one < len(self.leaves)]
        return {
            "key_sha256": key_hash.hex(),
            "included": found,
            "count": len(self.leaves),
            "root": self.root,
            "leaves": [self._leaf(one) for one in places],
        }

    def _place(self, key_hash: bytes) -> int:
        """The place of the first leaf whose key is not below this one."""
        low, high = 0, len(self.leaves)
        while low < high:
            middle = (low + high) // 2
            if self.leaves[middle, :_WIDTH].tobytes() < key_hash:
                low = middle + 1
            else:
                high = middle
        return low

    def _leaf(self, place: int) -> dict[str, Any]:
        nodes, at = [], place
        for level in (self.leaves, *self.levels[:-1]):
            first = at - at % FAN_OUT
            nodes.append([one.tobytes().hex() for one in level[first : first + FAN_OUT]])
            at //= FAN_OUT
        return {
            "place": place,
            "key_sha256": self.leaves[place, :_WIDTH].tobytes().hex(),
            "value_sha256": self.leaves[place, _WIDTH:].tobytes().hex(),
            "nodes": nodes,
        }


def merkle_tree(keys: pa.FixedSizeBinaryArray, values: pa.FixedSizeBinaryArray) -> MerkleTree:
    """The tree over n leaves in any order.

    Both binary(32) (n,) without nulls: the hashes of the keys, all different, and of their values.
    """
    pairs = np.concatenate([_matrix(keys), _matrix(values)], axis=1)
    leaves = pairs[_order(pairs)]
    return MerkleTree(leaves, tuple(_levels(_nodes(leaves, b"\x00"))))


class Leaves:
    """Leaves as they stream by, for the root alone: 64 bytes each, and 16 more for putting them in order."""

    def __init__(self, count: int) -> None:
        """`count` is how many there will be, so that none is copied; more are taken as well."""
        self._pairs: Bytes = np.empty((max(count, 1), 2 * _WIDTH), np.uint8)
        self._count = 0

    def add(self, keys: pa.FixedSizeBinaryArray, values: pa.FixedSizeBinaryArray) -> None:
        """Adds leaves: binary(32) (m,) both, hashes of keys and of values."""
        end = self._count + len(keys)
        if end > len(self._pairs):
            self._pairs = np.concatenate([self._pairs, np.empty((end, 2 * _WIDTH), np.uint8)])
        self._pairs[self._count : end, :_WIDTH] = _matrix(keys)
        self._pairs[self._count : end, _WIDTH:] = _matrix(values)
        self._count = end

    def root(self) -> str:
        """The root of the tree over them: 64 hexadecimal digits."""
        return _root_over(self._pairs[: self._count])


def merkle_root(keys: Iterable[pa.FixedSizeBinaryArray], values: Sequence[pa.FixedSizeBinaryArray]) -> str:
    """The root of the tree over the leaves of all chunks, which need not be cut alike: 64 hexadecimal digits."""
    pairs = np.empty((sum(len(chunk) for chunk in values), 2 * _WIDTH), np.uint8)
    for column, chunks in ((pairs[:, :_WIDTH], keys), (pairs[:, _WIDTH:], values)):
        end = 0
        for chunk in chunks:
            start, end = end, end + len(chunk)
            column[start:end] = _matrix(chunk)
        if end != len(pairs):
            raise ValueError(f"{end} hashes of keys or values do not make {len(pairs)} leaves")
    return _root_over(pairs)


def _root_over(pairs: Bytes) -> str:
    """The root over leaves in any order, (n, 64), of which a part at a time is copied into order."""
    order = _order(pairs)
    lowest = [
        _nodes(pairs[order[start : start + _AT_ONCE]], b"\x00") for start in range(0, len(order), _AT_ONCE)
    ]
    return _root(len(pairs), _levels(np.concatenate(lowest)) if lowest else [])


def _order(pairs: Bytes) -> NDArray[np.int64]:
    """Places of the leaves by their keys: by the first eight bytes, and the few that share them by the rest."""
    first = np.ascontiguousarray(pairs[:, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(first, kind="stable")
    first = first[order]
    same = np.flatnonzero(first[1:] == first[:-1])
    for start in np.unique(np.searchsorted(first, first[same])).tolist():
        end = int(np.searchsorted(first, first[start], side="right"))
        order[start:end] = sorted(order[start:end], key=lambda at: pairs[at, :_WIDTH].tobytes())
    return order


def _levels(lowest: Bytes) -> list[Bytes]:
    """The nodes of all levels, from the lowest to the topmost node."""
    levels = [lowest] if len(lowest) else []
    while levels and len(levels[-1]) > 1:
        levels.append(_nodes(levels[-1], b"\x01"))
    return levels


def _root(count: int, levels: Sequence[Bytes]) -> str:
    top = levels[-1].tobytes() if levels else bytes(_WIDTH)
    return hashlib.sha256(b"\x02" + count.to_bytes(8, "big") + top).hexdigest()


def _nodes(below: Bytes, mark: bytes) -> Bytes:
    size = FAN_OUT * below.shape[1]
    data, sha256 = memoryview(below.tobytes()), hashlib.sha256
    hashes = b"".join(
        [sha256(mark + data[start : start + size]).digest() for start in range(0, len(data), size)]
    )
    return np.frombuffer(hashes, np.uint8).reshape(-1, _WIDTH)


def _matrix(hashes: pa.FixedSizeBinaryArray) -> Bytes:
    if hashes.type != HASH_FIELD.type or hashes.null_count:
        raise ValueError(f"expected {HASH_FIELD.type} without nulls, not {hashes.type}")
    data = np.frombuffer(hashes.buffers()[1], np.uint8) if len(hashes) else np.zeros(0, np.uint8)
    start = hashes.offset * _WIDTH
    return data[start : start + len(hashes) * _WIDTH].reshape(-1, _WIDTH)
