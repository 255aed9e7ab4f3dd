"""Originals and interpolated rows together, the vectors of mixes computed when they are asked for.

MDIT merges the generated samples with the originals and clusters both (section 3). A mix has no vector of
its own: it is λ e_a + (1 - λ) e_b of its parents', scaled to unit length. So what is held is the originals'
matrix and, for each row, two places in it and λ: 12 bytes a row, however many mixes there are.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.instructions.shingles import mix
from assets.interpolation.centroids import Places, Vectors

FIT, RANDOM, MEASURED, PLOTTED, CANDIDATES = range(5)
"""What an order of rows is drawn for: each has an order of its own."""

BLOCK = 2048
"""Rows that are mixed at a time."""

Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class MixedVectors:
    """A matrix (rows, dimension) float32 of unit length whose rows are computed as they are read.

    `originals` (originals, dimension) float32, of any length; `parents` (rows, 2) int32, places in it, for
    an original its own twice; `weights` (rows,) float32, λ, the weight of the first parent.
    """

    originals: Vectors
    parents: npt.NDArray[np.int32]
    weights: Vectors

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.originals.shape[1])

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: slice | Places) -> Vectors:
        """Vectors of a slice or of places, scaled to unit length; opposite parents in halves stay at 0."""
        places = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        found = np.empty((len(places), self.dimension), dtype=np.float32)
        for start in range(0, len(places), BLOCK):
            part = self.unscaled(places[start : start + BLOCK])
            part /= np.maximum(_lengths(part), 1e-12)[:, None]
            found[start : start + BLOCK] = part
        return found

    def unscaled(self, rows: Places) -> Vectors:
        """The mixes themselves: unit parents at an angle make a mix shorter than 1, closer to the centre."""
        first, second = self.parents[rows].T
        share = self.weights[rows, None]
        found: Vectors = self.originals[first]
        found *= share
        other = self.originals[second]
        other *= 1 - share
        found += other
        return found

    def relative_lengths(self, rows: Places) -> Vectors:
        """Length of each mix before scaling, over the same mix of its parents' lengths: at most 1."""
        first, second = self.parents[rows].T
        share = self.weights[rows]
        lengths = share * _lengths(self.originals[first]) + (1 - share) * _lengths(self.originals[second])
        return np.asarray(_lengths(self.unscaled(rows)) / np.maximum(lengths, 1e-12), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class MergedRows:
    """Originals and interpolated rows, sorted by id: whatever order they came in is forgotten.

    `row_ids` (rows,) strings; `mixed` (rows,) bool, which rows are interpolated; `vectors` of the rows.
    """

    row_ids: pa.StringArray
    mixed: npt.NDArray[np.bool_]
    vectors: MixedVectors

    def __len__(self) -> int:
        return len(self.row_ids)

    @cached_property
    def _hashes(self) -> Numbers:
        hashes = (hashlib.blake2b(one.as_buffer(), digest_size=8).digest() for one in self.row_ids)
        return np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.uint64)

    def random_numbers(self, seed: int, purpose: int) -> Numbers:
        """A number in [0, 2**64) for each row: a hash of its id, of `seed` and of what it is for."""
        key = mix(mix(np.array([seed], dtype=np.uint64)) + np.uint64(purpose + 1))
        return mix(self._hashes ^ key)

    def sample(self, count: int, seed: int, purpose: int, among: Places | None = None) -> Places:
        """Places of `count` rows (all where there are no more), in order: the lowest random numbers.

        Stratified: originals and mixes are drawn by their shares. `among` are the places to draw from,
        by default all. Rows that come or go elsewhere hardly change what is drawn.
        """
        rows = np.arange(len(self)) if among is None else among
        if len(rows) <= count:
            return rows
        numbers = self.random_numbers(seed, purpose)
        mixes, originals = rows[self.mixed[rows]], rows[~self.mixed[rows]]
        share = round(count * len(mixes) / len(rows))
        parts = [
            kind[np.argsort(numbers[kind], kind="stable")[:size]]
            for kind, size in ((mixes, share), (originals, count - share))
        ]
        return np.sort(np.concatenate(parts))


def merge(
    ids: pa.StringArray,
    originals: Vectors,
    recipe_ids: pa.StringArray | None = None,
    parents_a: pa.StringArray | None = None,
    parents_b: pa.StringArray | None = None,
    weights: npt.NDArray[np.float64] | None = None,
) -> MergedRows:
    """The rows of `ids`, whose vectors are `originals`, and those of recipes: parents and their λ.

    Raises ValueError where an id occurs twice or a parent is not among `ids`.
    """
    count = len(ids)
    if len(originals) != count:
        raise ValueError(f"{count} originals have {len(originals)} vectors")
    place = np.arange(count, dtype=np.int32)
    parents, shares, names = np.stack([place, place], axis=1), np.ones(count, np.float32), ids
    if recipe_ids is not None and weights is not None:
        found = [_places(side, ids) for side in (parents_a, parents_b)]
        parents = np.concatenate([parents, np.stack(found, axis=1)])
        shares = np.concatenate([shares, weights.astype(np.float32)])
        names = pa.concat_arrays([ids, recipe_ids])
    order = pc.sort_indices(names).to_numpy()
    names = names.take(pa.array(order))
    if len(names) > 1 and pc.any(pc.equal(names.slice(1), names.slice(0, len(names) - 1))).as_py():
        raise ValueError("every row has an id of its own")
    vectors = MixedVectors(np.ascontiguousarray(originals, np.float32), parents[order], shares[order])
    return MergedRows(names, order >= count, vectors)


def _places(parents: pa.StringArray | None, ids: pa.StringArray) -> npt.NDArray[np.int32]:
    found = pc.index_in(parents, value_set=ids)
    if found.null_count:
        unknown = parents.filter(pc.is_null(found))[0].as_py()  # type: ignore[union-attr]
        raise ValueError(f"the parent {unknown} of a recipe has no vector")
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int32)


def _lengths(points: Vectors) -> Vectors:
    return np.sqrt(np.einsum("ij,ij->i", points, points))
