"""The tree against one built by hand, and proofs as somebody checks them who has nothing but hashlib."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from resources.merkle import MerkleTree, merkle_tree
from resources.row_hashes import hash_values


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def tree(keys: list[str]) -> MerkleTree:
    values = pa.array([f"value of {key}" for key in keys], pa.string())
    return merkle_tree(hash_values(pa.array(keys, pa.string())), hash_values(values))


def by_hand(keys: list[str]) -> str:
    nodes = sorted(sha256(key.encode()) + sha256(f"value of {key}".encode()) for key in keys)
    mark = b"\0"
    while len(nodes) > 1 or (nodes and mark == b"\0"):
        nodes = [sha256(mark, *nodes[start : start + 16]) for start in range(0, len(nodes), 16)]
        mark = b"\1"
    return sha256(b"\2", len(keys).to_bytes(8, "big"), nodes[0] if nodes else bytes(32)).hex()


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 256, 257, 5000])
def test_the_root_is_that_of_the_sorted_leaves(count: int) -> None:
    keys = [f"row {number}" for number in range(count)]
    expected = by_hand(keys)
    assert tree(keys).root == expected
    shuffled = np.random.default_rng(0).permutation(keys).tolist()
    assert tree(shuffled).root == expected
    if count:
        assert tree([*keys[:-1], "another"]).root != expected


def test_leaves_whose_first_bytes_agree_are_in_order() -> None:
    keys = [bytes(8) + bytes([second]) * 24 for second in (3, 1, 2)] + [bytes([7]) * 32]
    array = pa.array(keys, pa.binary(32))
    found = merkle_tree(array, array).leaves[:, :32]
    assert [row.tobytes() for row in found] == sorted(keys)


def root_of(leaf: dict[str, Any], count: int) -> str:
    """The root that a leaf of a proof leads to; refuses one that does not lead upwards."""
    node = bytes.fromhex(leaf["key_sha256"] + leaf["value_sha256"])
    at, mark = leaf["place"], b"\0"
    for children in leaf["nodes"]:
        assert children[at % 16] == node.hex()
        node, at, mark = sha256(mark, *map(bytes.fromhex, children)), at // 16, b"\1"
    assert at == 0
    return sha256(b"\2", count.to_bytes(8, "big"), node).hex()


@pytest.mark.parametrize("count", [1, 2, 16, 17, 300])
def test_every_row_is_proved_in_and_others_out(count: int) -> None:
    keys = [f"row {number}" for number in range(count)]
    found = tree(keys)
    for key in [*keys, *(f"absent {number}" for number in range(40))]:
        proof = found.proof(sha256(key.encode()))
        assert proof["included"] == (key in keys) and proof["root"] == found.root
        assert {root_of(leaf, count) for leaf in proof["leaves"]} == {found.root}
        places = [leaf["place"] for leaf in proof["leaves"]]
        if key in keys:
            (leaf,) = proof["leaves"]
            assert leaf["key_sha256"] == sha256(key.encode()).hex()
            assert leaf["value_sha256"] == sha256(f"value of {key}".encode()).hex()
        else:
            assert places in ([0], [count - 1]) or places[1] - places[0] == 1
            below = [leaf["key_sha256"] < proof["key_sha256"] for leaf in proof["leaves"]]
            assert below in ([False], [True], [True, False])


def test_an_empty_tree_holds_nothing() -> None:
    proof = tree([]).proof(sha256(b"row"))
    assert (proof["included"], proof["count"], proof["leaves"]) == (False, 0, [])
