"""Recipes of a table as training rows."""

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.finetuning.rows import encode_rows, read_batches, read_recipes
from assets.finetuning.training_row import TrainingRow
from assets.identity import recipe_id, rows_digest
from assets.interpolation.alignment import ALIGNMENTS, align
from assets.interpolation.recipes import Recipe
from assets.ledger import Entry, Selection, curriculum_table
from assets.records import CURRICULUM, INSTRUCTIONS, INTERPOLATED_INSTRUCTIONS, KINDS, Record
from resources.errors import SultanaError
from resources.language_model import LanguageModel
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

CONVERSATIONS: dict[str, list[dict[str, str]]] = {
    "a": [
        {"role": "user", "content": "Name the capital of France."},
        {"role": "assistant", "content": "Paris."},
    ],
    "b": [
        {"role": "user", "content": "What is 2 + 2? Think aloud."},
        {"role": "assistant", "content": "Two and two are four."},
    ],
}


@pytest.fixture(scope="module")
def tokenizer(models_folder: Path) -> Any:
    return LanguageModel(folder=models_folder).load_tokenizer()


def recipes_table(rows: Sequence[tuple[str, str, float, int, str]]) -> pa.Table:
    records = [
        {
            "recipe_id": recipe_id(a, b, weight, 7, layer, alignment),
            "parent_a": a,
            "parent_b": b,
            "lambda": weight,
            "seed": 7,
            "layer": layer,
            "alignment": alignment,
            "task_a": "one",
            "task_b": "two",
        }
        for a, b, weight, layer, alignment in rows
    ]
    return pa.Table.from_pylist(records, schema=INTERPOLATED_INSTRUCTIONS.schema)


def test_layer_and_alignment_come_from_the_table_to_the_row(tokenizer: Any, tmp_path: Path) -> None:
    wanted = [("a", "b", 0.25, layer, alignment) for layer, alignment in enumerate(ALIGNMENTS)]
    tables = LanceTables(tmp_path)
    ref = tables.write(
        INTERPOLATED_INSTRUCTIONS,
        recipes_table(wanted),
        mode="overwrite",
        provenance=Provenance("r", "interpolated_instructions", "k"),
    )
    recipes = read_recipes(tables, ref)
    assert sorted(recipes.values(), key=lambda one: one.layer) == [Recipe(*row) for row in wanted]
    encoded = encode_rows(
        [*recipes, "a"],
        tokenizer=tokenizer,
        conversations=CONVERSATIONS,
        recipes=recipes,
        maximum_length=128,
    )
    assert not encoded.refused
    for name, recipe in recipes.items():
        row = encoded.rows[name]
        assert (row.mixing, row.layer, row.alignment) == (0.25, recipe.layer, recipe.alignment)
        assert [parent.row_id for parent in row.parents] == ["a", "b"]
    assert encoded.rows["a"].mixing == 1.0 and len(encoded.rows["a"].parents) == 1


def test_a_pair_keeps_a_trained_token_however_it_is_aligned(tokenizer: Any) -> None:
    """Also where the template puts no end after a turn, so that an empty first answer has no token."""
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    )

    def late(again: str, last: str) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": "Say nothing."},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": again},
            {"role": "assistant", "content": last},
        ]

    conversations = {
        **CONVERSATIONS,
        "late": late("Now.", "Word."),
        "later": late("Now say something, as many words as you like, when you are ready.", "Words."),
    }
    recipes = {
        f"{a}-{b}-{alignment}": Recipe(a, b, 0.3, alignment=alignment)
        for a, b in itertools.permutations(conversations, 2)
        for alignment in ALIGNMENTS
    }
    for one in (tokenizer, plain):
        encoded = encode_rows(
            list(recipes),
            tokenizer=one,
            conversations=conversations,
            recipes=recipes,
            maximum_length=40,  # cuts some prompts
        )
        assert encoded.rows.keys() == recipes.keys()
        for row in encoded.rows.values():
            assert align(row.parents, row.mixing, row.alignment).label_weight > 0


def test_recipes_that_cannot_be_are_refused(tokenizer: Any) -> None:
    for recipe, match in (
        (Recipe("a", "b", 0.5, alignment="middle"), "aligned as 'middle'"),
        (Recipe("a", "missing", 0.5), "missing is selected"),
    ):
        with pytest.raises(SultanaError, match=match):
            encode_rows(
                ["r"],
                tokenizer=tokenizer,
                conversations=CONVERSATIONS,
                recipes={"r": recipe},
                maximum_length=128,
            )


LONG = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one two three " * 30}]
EMPTY = [{"role": "user", "content": "Say nothing."}, {"role": "assistant", "content": ""}]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("long", "response_too_long"),
        ("empty", "no_trainable_token"),
        ("a-long", "parent: response_too_long"),
        ("empty-a", "parent: no_trainable_token"),
    ],
)
def test_a_ledger_with_a_row_that_cannot_be_trained_on_is_refused_with_its_id(
    tokenizer: Any, tmp_path: Path, row: str, reason: str
) -> None:
    """Through the very tables that the asset reads; the rest of the ledger is sound."""
    conversations = {**CONVERSATIONS, "long": LONG, "empty": EMPTY}
    pairs = {f"{one}-{two}": (one, two) for one, two in (("a", "b"), ("a", "long"), ("empty", "a"))}
    recipes = recipes_table([(*pair, 0.3, 0, ALIGNMENTS[0]) for pair in pairs.values()])
    names = dict(zip(pairs, recipes["recipe_id"].to_pylist(), strict=True))
    instructions = pa.Table.from_pylist(
        [
            {"instruction_id": name, "task": None, "messages": turns, "origins": [], "scores": None}
            for name, turns in conversations.items()
        ],
        schema=INSTRUCTIONS.schema,
    )

    def ledger(*rows: str) -> pa.Table:
        entries = [
            Entry(names.get(one, one), KINDS[one in names], 0, 0.0, 0.5, "test", "0" * 64) for one in rows
        ]
        return curriculum_table("c", "random", 0, [Selection(0, tuple(entries))])

    tables = LanceTables(tmp_path)

    def write(record: Record, table: pa.Table) -> TableRef:
        digest = rows_digest(table[record.key].to_pylist())
        provenance = Provenance("r", record.table, digest[:8])
        return tables.write(record, table, mode="overwrite", provenance=provenance)

    def batches(*rows: str) -> list[list[TrainingRow]]:
        return read_batches(
            tables,
            curriculum=write(CURRICULUM, ledger(*rows)),
            curriculum_id="c",
            instructions=write(INSTRUCTIONS, instructions),
            interpolated=write(INTERPOLATED_INSTRUCTIONS, recipes),
            tokenizer=tokenizer,
            maximum_length=64,
        )

    (sound,) = batches("a", "a-b")
    assert [one.row_id for one in sound] == ["a", names["a-b"]] and {one.weight for one in sound} == {0.5}
    refused = names.get(row, row)
    with pytest.raises(SultanaError) as refusal:
        batches("a", row, "a-b")
    assert (
        f"1 rows of the curriculum cannot be trained on at a maximum_length of 64: {refused} ({reason})"
        in str(refusal.value)
    )
