"""The data dictionary: one Arrow schema per Lance table.

Read this file first. Every table that Sultana stores is declared here, with its key. A row is
identified by the hash of its canonical content (`assets.identity`), never by a position; a position
is stored only to say where in a source file a row was found.
"""

from dataclasses import dataclass

import pyarrow as pa

SPLITS = ("reward", "early_stopping", "test")
KINDS = ("original", "interpolated")


@dataclass(frozen=True)
class Record:
    """A Lance table: its name, its Arrow schema and the column that identifies a row.

    `indexed` are the columns that rows are looked up by, `searched` those whose words are; see
    `resources.table_indices`.
    """

    table: str
    key: str
    schema: pa.Schema
    indexed: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()


def _text(name: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, pa.string(), nullable=nullable)


def _number(name: str, kind: pa.DataType, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


MESSAGE = pa.struct([_text("role"), _text("content")])
SCORE = pa.struct([_text("name"), _number("value", pa.float64())])
ORIGIN = pa.struct(
    [
        _text("origin_id"),
        _text("source"),
        _text("file"),
        _text("file_sha256"),
        _number("position", pa.int64()),
        _text("licence", nullable=True),
    ]
)

RAW_INSTRUCTIONS = Record(
    "raw_instructions",
    "origin_id",
    pa.schema(
        [
            _text("origin_id"),  # hash of file content, position and row content
            _text("instruction_id", nullable=True),  # null where the row could not be read
            _text("source"),
            _text("file"),
            _text("file_sha256"),
            _number("position", pa.int64()),  # line (text formats) or row (Parquet), from 1
            _text("licence", nullable=True),
            _text("task", nullable=True),
            pa.field("messages", pa.list_(MESSAGE), nullable=True),
            pa.field("scores", pa.list_(SCORE), nullable=True),  # by name; null where the row has none
            _text("problem", nullable=True),  # why the row could not be read; null where it could
            _text("problem_detail", nullable=True),
            _text("raw_text", nullable=True),  # escaped and cut; only where there is a problem
        ]
    ),
    indexed=("origin_id", "instruction_id", "position"),
    searched=("messages.content",),
)

INSTRUCTIONS = Record(
    "instructions",
    "instruction_id",
    pa.schema(
        [
            _text("instruction_id"),
            _text("task", nullable=True),
            pa.field("messages", pa.list_(MESSAGE), nullable=False),
            pa.field("origins", pa.list_(ORIGIN), nullable=False),  # every exact duplicate's origin
            pa.field("scores", pa.list_(SCORE), nullable=True),  # by name; null where the row has none
        ]
    ),
    indexed=("instruction_id",),
)

QUARANTINE = Record(
    "quarantine",
    "origin_id",
    pa.schema(
        [
            _text("origin_id"),
            _text("source"),
            _text("file"),
            _text("file_sha256"),
            _number("position", pa.int64()),
            _text("reason"),
            _text("detail"),
            _text("raw_text"),  # escaped and cut
        ]
    ),
)

DROPPED_INSTRUCTIONS = Record(
    "dropped_instructions",
    "origin_id",
    pa.schema(
        [
            _text("origin_id"),
            _text("instruction_id"),  # empty where the row could not be read and was retracted
            _text("reason"),  # exact_duplicate, near_duplicate, contaminated or retracted
            _text(
                "collides_with"
            ),  # an instruction_id; an example_id where contaminated, else a retraction_id
            _number(
                "similarity", pa.float64()
            ),  # Jaccard index, or share of n-grams found; 1 where retracted
            _text("source"),
            _text("file"),
            _number("position", pa.int64()),
        ]
    ),
    indexed=("origin_id",),
)

BENCHMARK_SPLITS = Record(
    "benchmark_splits",
    "example_id",
    pa.schema(
        [
            _text("example_id"),
            _text("split"),  # one of SPLITS
            _text("task"),
            pa.field("messages", pa.list_(MESSAGE), nullable=False),  # the prompt; ends with a user turn
            _text("response"),  # the reference response, the text whose loss is measured
            _text("answer", nullable=True),  # what exact match compares; null: loss only
            _text("source"),
            _text("file"),
            _number("position", pa.int64()),
        ]
    ),
)

INTERPOLATED_INSTRUCTIONS = Record(
    "interpolated_instructions",
    "recipe_id",
    pa.schema(
        [
            _text("recipe_id"),
            _text("parent_a"),  # instruction_id
            _text("parent_b"),
            _number("lambda", pa.float64()),  # weight of parent_a; parent_b has 1 - lambda
            _number("seed", pa.int64()),
            _number("layer", pa.int32()),  # 0: the embedding layer
            _text("alignment"),
            _text("task_a"),
            _text("task_b"),
        ]
    ),
    indexed=("recipe_id", "parent_a", "parent_b"),
)

DIVERSITY_CLUSTERS = Record(
    "diversity_clusters",
    "row_id",
    pa.schema(
        [
            _text("row_id"),  # an instruction_id or a recipe_id
            _text("kind"),  # original or interpolated
            _number("cluster", pa.int32()),
            _number("distance", pa.float32()),  # Euclidean, to the centroid of unit vectors
            _number("density", pa.float32()),  # mean cosine to the nearest neighbours in the cluster
            _number("rank", pa.int32()),  # place in its cluster, most representative first
            _number("representative", pa.bool_()),
        ]
    ),
)

CURRICULUM = Record(
    "curriculum",
    "entry_id",
    pa.schema(
        [
            _text("entry_id"),  # curriculum_id:step:slot
            _text("curriculum_id"),
            _text("strategy"),
            _number("seed", pa.int64()),
            _number("step", pa.int32()),  # optimizer step, from 0
            _number("slot", pa.int32()),  # place in the batch, from 0
            _text("row_id"),
            _text("kind"),
            _number("cluster", pa.int32()),
            _number("score", pa.float64()),  # what the strategy ranked by
            _number("weight", pa.float64()),  # weight of the row's loss
            _text("reason"),
            _text("policy_sha256"),  # the policy's weights, or the strategy's code version
        ]
    ),
    indexed=("row_id",),
)

EVALUATIONS = Record(
    "evaluations",
    "evaluation_id",
    pa.schema(
        [
            _text("evaluation_id"),
            _text("checkpoint_id"),  # or the base model's fingerprint
            _text("model"),  # registered name and version, or the base model's name
            _text("strategy"),  # "base" for the base model
            _number("seed", pa.int64()),
            _text("split"),  # one of SPLITS, or "benchmark" for a benchmark of the harness
            _text("task"),
            _text("metric"),  # loss, accuracy, or a metric of the harness such as acc_norm
            _number("value", pa.float64()),
            _number("standard_error", pa.float64(), nullable=True),  # over examples; null where none is known
            _number("examples", pa.int64()),
            _number("overlapping", pa.int64()),  # examples that share text with a row trained on
            _number("value_without_overlap", pa.float64(), nullable=True),  # null: no mean, or none is left
        ]
    ),
)

EVALUATION_ANSWERS = Record(
    "evaluation_answers",
    "answer_id",
    pa.schema(
        [
            _text("answer_id"),  # hash of scoring_id, benchmark, task and question_id
            _text("scoring_id"),  # hash of the checkpoint and of all else that an evaluation depends on
            _text("benchmark"),  # a benchmark of the harness, or the split that was scored
            _text("task"),
            _text("question_id"),  # equal for all models asked; an example_id where a split was scored
            _text("prompt"),  # without template and few-shot examples
            _text("prompt_sha256"),  # of the text or token ids that the model got
            _text("expected"),
            _text("got"),  # what the model generated or chose; empty where only loss was measured
            pa.field("scores", pa.list_(SCORE), nullable=False),
            _number(
                "overlap", pa.float64()
            ),  # largest share of its n-grams in one row trained on; 0: below threshold
        ]
    ),
)


PROMOTIONS = Record(
    "promotions",
    "promotion_id",
    pa.schema(
        [
            _text("promotion_id"),  # hash of the decision, its grounds and the decision before it
            _text("model"),
            _number("sequence", pa.int64()),  # place among the model's decisions, from 1
            _text("action"),  # promote, rollback or withdraw (what it was trained on was retracted)
            _number("version", pa.int64(), nullable=True),  # the champion from now on; null: none
            _number("previous_version", pa.int64(), nullable=True),
            _number("forced", pa.bool_()),  # the rule did not hold and was waived
            _text("reason", nullable=True),
            _text("rule"),  # JSON
            _text("evidence"),  # JSON: evaluations, files and every comparison
            _text("decided_by"),
            _number("decided_at", pa.timestamp("us", "UTC")),
        ]
    ),
)


RETRACTIONS = Record(
    "retractions",
    "retraction_id",
    pa.schema(
        [
            _text("retraction_id"),  # hash of the decision and of the decision before it
            _number("sequence", pa.int64()),  # place among all decisions, from 1
            _text("action"),  # retract, or lift: the retraction in `lifts` does not stand any more
            _text("kind", nullable=True),  # row, source, licence or file
            _text("value", nullable=True),  # the source, licence or file; null for rows
            pa.field(
                "rows", pa.list_(_text("item")), nullable=True
            ),  # instruction_ids and origin_ids; null: all
            _number("position", pa.int64(), nullable=True),  # the line that was named, as it was then
            _text("lifts", nullable=True),  # retraction_id
            _text("reason"),
            _number("erase", pa.bool_()),  # content is removed as well
            _text("champion_kept", nullable=True),  # why models keep the alias; null where they lose it
            _text("matched"),  # JSON: what it matched when it was decided
            _text("decided_by"),
            _number("decided_at", pa.timestamp("us", "UTC")),
        ]
    ),
)


ERASURES = Record(
    "erasures",
    "erasure_id",
    pa.schema(
        [
            _text("erasure_id"),  # hash of the table and of the row's key
            _text("retraction_id"),
            _text("table_name"),
            _text("row_id"),  # the row's key in that table; the row stays, and so does its stored hash
            pa.field("columns", pa.list_(_text("item")), nullable=False),  # what is empty in all versions
            _text("erased_by"),
            _number("erased_at", pa.timestamp("us", "UTC")),
        ]
    ),
)


def embeddings_record(fingerprint: str, dimension: int) -> Record:
    """The table of one embedder: a table each, since a vector column has one length.

    `fingerprint` is the embedder's hash (hexadecimal), `dimension` the length of its vectors.
    """
    return Record(
        f"instruction_embeddings_{fingerprint[:12]}",
        "instruction_id",
        pa.schema(
            [
                _text("instruction_id"),
                pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
            ]
        ),
    )


def auxiliary_record(hidden_size: int) -> Record:
    """The table of what models with states of `hidden_size` numbers said of rows: one length a column.

    `hidden` is float32: a curriculum from stored features is the one from fresh ones, to the last bit,
    and no state overflows.
    """
    return Record(
        f"auxiliary_features_{hidden_size}",
        "feature_id",
        pa.schema(
            [
                _text("feature_id"),  # hash of instruction_id and scorer
                _text("instruction_id"),
                _text("scorer"),  # hash of model, template, maximum length, dtype and code version
                _number("prompt_tokens", pa.int32()),
                _number("response_tokens", pa.int32()),
                _number("given_prompt", pa.float64()),  # log P(y|x), summed, nats
                _number("alone", pa.float64()),  # log P(y), summed, nats
                pa.field("hidden", pa.list_(pa.float32(), hidden_size), nullable=False),
            ]
        ),
    )
