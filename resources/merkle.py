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
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resources.row_hashes import HASH_FIELD

FAN_OUT = 16
_WIDTH = 32
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
        top = self.levels[-1].tobytes() if self.levels else bytes(_WIDTH)
        return hashlib.sha256(b"\x02" + len(self.leaves).to_bytes(8, "big") + top).hexdigest()

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
    # Sorted by the first eight bytes; the few that share them are put in order by the rest.
    first = np.ascontiguousarray(pairs[:, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(first, kind="stable")
    first = first[order]
    same = np.flatnonzero(first[1:] == first[:-1])
    if len(same):
        for start in np.unique(np.searchsorted(first, first[same])):
            end = int(np.searchsorted(first, first[start], side="right"))
            order[start:end] = sorted(order[start:end], key=lambda at: pairs[at, :_WIDTH].tobytes())
    leaves = pairs[order]
    levels: list[Bytes] = []
    below, mark = leaves, b"\x00"
    while len(leaves) and (len(below) > 1 or not levels):
        below = _nodes(below, mark)
        levels.append(below)
        mark = b"\x01"
    return MerkleTree(leaves, tuple(levels))


def merkle_root(keys: pa.FixedSizeBinaryArray, values: pa.FixedSizeBinaryArray) -> str:
    """The root of `merkle_tree`: 64 hexadecimal digits."""
    return merkle_tree(keys, values).root


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
