"""Near-duplicates: repeats are found, rows that only look alike are kept, and order changes nothing."""

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.instructions.duplicates import Duplicate, band_size, near_duplicates
from assets.instructions.shingles import Vocabulary, shingles, words

# Without digits, which near-duplicates must share.
WORDS = ["".join(letters) for letters in product("bdfglm", "aeiou", "knprst", "aeiou")]


def text(rng: random.Random, length: int) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def found(*texts: str, threshold: float = 0.8) -> list[Duplicate]:
    return near_duplicates(texts, [f"row{number}" for number in range(len(texts))], threshold=threshold)


def test_planted_repeats_are_found_and_nothing_else() -> None:
    rng = random.Random(0)
    texts = [text(rng, rng.randint(30, 120)) for _ in range(400)]
    repeats = [one.replace(" ", "  ", 3).upper() + " please!" for one in texts[:60]]
    ids = [f"a{number:03}" for number in range(400)] + [f"b{number:03}" for number in range(60)]
    dropped = near_duplicates(texts + repeats, ids)
    assert {(one.dropped_id, one.kept_id) for one in dropped} == {
        (f"a{number:03}", f"b{number:03}") for number in range(60)
    }
    assert all(0.95 < one.similarity <= 1 for one in dropped)


def test_order_of_rows_changes_nothing() -> None:
    rng = random.Random(1)
    texts = [text(rng, 60) for _ in range(50)]
    texts += [one + " again" * number for number in range(1, 4) for one in texts[:20]]
    rows = [(f"{number:03}", one) for number, one in enumerate(texts)]
    expected = near_duplicates([one for _, one in rows], [name for name, _ in rows])
    assert len(expected) == 60
    for _ in range(3):
        rng.shuffle(rows)
        assert near_duplicates([one for _, one in rows], [name for name, _ in rows]) == expected


def test_each_dropped_row_is_similar_to_a_row_that_is_kept() -> None:
    # Each row extends the one before by a tenth: a chain whose ends are far apart.
    rng = random.Random(2)
    chain = [text(rng, 50)]
    for _ in range(12):
        chain.append(chain[-1] + " " + text(rng, 5))
    dropped = found(*chain)
    names = {one.dropped_id for one in dropped}
    assert names and not names & {one.kept_id for one in dropped}
    for one in dropped:
        left, right = (
            {tuple(tokens[n : n + 5]) for n in range(len(tokens) - 4)}
            for tokens in (words(chain[int(name[3:])]) for name in (one.dropped_id, one.kept_id))
        )
        assert one.similarity == len(left & right) / len(left | right)
        assert one.similarity >= 0.8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 12 + 7?\n19", "What is 12 + 8?\n20"),
        ("What is 12 + 7?", "What is 12 - 7?"),
        ("Print hello in C", "Print hello in C++"),
        ("What is the capital of France?\nParis", "What is the capital of Spain?\nMadrid"),
        ("Define cat", "Define cats"),
        ("给我写一首关于春天的诗", "给我写一首关于秋天的诗"),
        ("", ""),
        ("?", "!"),
    ],
)
def test_rows_that_differ_in_what_they_say_are_kept(one: str, other: str) -> None:
    assert found(one, other, threshold=0.3) == [] or not words(one)


def test_rows_of_one_template_are_kept() -> None:
    definition = "Given a word decide which of the listed categories it belongs to and answer " * 8
    rows = [
        f"{definition}\nword: {word}\n{answer}" for word, answer in zip("abcdefgh", "ijklmnop", strict=True)
    ]
    assert found(*rows) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Name a fruit. Apple", "name a fruit: apple"),
        ("He paid $9.05 , and left .", "He paid $9.05, and left."),
        ("写一首关于春天的诗。谢谢你", "写一首关于春天的诗，谢谢你"),
        ("Ｆｕｌｌ width letters count as plain ones", "Full width letters count as plain ones"),
    ],
)
def test_case_punctuation_and_spacing_do_not_count(one: str, other: str) -> None:
    assert [duplicate.similarity for duplicate in found(one, other)] == [1.0]


def test_kept_row_has_the_most_words_then_the_longest_text_then_the_smallest_id() -> None:
    base = " ".join(WORDS[:30])
    assert [one.kept_id for one in found(base, base + " more")] == ["row1"]
    assert [one.kept_id for one in found(base, base + "!!!")] == ["row1"]
    assert [one.kept_id for one in found(base, base.upper())] == ["row0"]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.3, 1.0), st.integers(16, 256))
def test_bands_find_pairs_at_the_threshold(threshold: float, permutations: int) -> None:
    size = band_size(threshold, permutations)
    assert 1 <= size <= permutations
    if size > 1:
        assert 1 - (1 - threshold**size) ** (permutations // size) >= 0.995


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS[:20]), max_size=12), max_size=8), st.integers(1, 6))
def test_shingles_are_those_of_each_text_alone(lists: list[list[str]], size: int) -> None:
    together = shingles(lists, size, Vocabulary(limit=3))
    for number, one in enumerate(lists):
        mine = together.hashes[together.offsets[number] : together.offsets[number + 1]]
        assert len(mine) == max(0, len(one) - size + 1)
        assert mine.tolist() == shingles([one], size, Vocabulary()).hashes.tolist()


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="different"):
        near_duplicates(["a", "b"], ["x", "x"])
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates(["a"], ["x"], threshold=0)
    assert near_duplicates([], []) == []
