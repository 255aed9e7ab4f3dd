"""Partitions of curricula, checkpoints, evaluations and manifests: strategy × seed, both of them dynamic.

People add a strategy or a seed in the UI, or by naming it in `sultana run`. A strategy may carry a label behind
a hyphen, such as `raise-two-rounds`: the same method, with settings of its own, as a line of its own on the
leaderboard. What is deleted leaves schedules and the leaderboard; its records stay.
"""

import re

import dagster as dg

from resources.errors import SultanaError

STRATEGIES = (
    "random",
    "longest",
    "full",
    "ifd",
    "superfiltering",
    "deita",
    "alpagasus",
    "k_center",
    "kmeans_quality",
    "dsir",
    "sspl",
    "less",
    "gradient_alignment",
    "raise",
)
"""The methods that there are; what they do is said in `assets.selection.strategies`."""

FIRST_SEEDS = ("0", "1", "2")
"""Seeds that a new data folder offers."""

LARGEST_SEED = 2**31 - 1
LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
STRATEGY, SEED = "strategy", "seed"

EXPERIMENTS = dg.MultiPartitionsDefinition(
    {
        SEED: dg.DynamicPartitionsDefinition(name=SEED),
        STRATEGY: dg.DynamicPartitionsDefinition(name=STRATEGY),
    }
)


def method_of(strategy: str) -> str:
    """The method behind a strategy's name, which may carry a label. Raises SultanaError where there is none."""
    method, hyphen, label = strategy.partition("-")
    if method not in STRATEGIES:
        raise SultanaError(
            f"There is no strategy '{strategy}'",
            f"Choose from: {', '.join(STRATEGIES)}; a label may follow behind a hyphen, such as raise-two-rounds",
            code="partition-unknown",
        )
    if hyphen and not LABEL.fullmatch(label):
        raise SultanaError(
            f"The strategy '{strategy}' has no valid label behind its hyphen",
            "Use up to 64 letters, digits, _ and -, such as raise-two-rounds",
            code="partition-unknown",
        )
    return method


def check_seed(seed: str) -> int:
    """A seed from its text. Raises SultanaError where it is not a whole number from 0 to 2³¹ - 1."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,9}", seed) or int(seed) > LARGEST_SEED:
        raise SultanaError(
            f"There is no seed '{seed}'",
            f"Use a whole number from 0 to {LARGEST_SEED}, such as 0",
            code="partition-unknown",
        )
    return int(seed)


def partition_key(strategy: str, seed: int) -> dg.MultiPartitionKey:
    """The partition of one strategy and seed; as text, `seed|strategy`. Raises SultanaError as the two above do."""
    method_of(strategy)
    check_seed(str(seed))
    return dg.MultiPartitionKey({SEED: str(seed), STRATEGY: strategy})


def parse_key(text: str) -> dg.MultiPartitionKey:
    """The partition that `seed|strategy` names. Raises SultanaError where there can be none of that name."""
    seed, _, strategy = text.partition("|")
    return partition_key(strategy, check_seed(seed))


def strategy_and_seed(context: dg.AssetExecutionContext) -> tuple[str, int]:
    """The strategy and seed of the partition that is being materialized. Raises SultanaError for an impossible one."""
    key = context.partition_key
    if not isinstance(key, dg.MultiPartitionKey):
        raise TypeError(f"expected a partition of seed and strategy, got {key!r}")
    strategy, seed = key.keys_by_dimension[STRATEGY], key.keys_by_dimension[SEED]
    method_of(strategy)
    return strategy, check_seed(seed)


def offer_partitions(instance: dg.DagsterInstance) -> None:
    """Fills an instance that has no partitions yet: every method, and the first seeds."""
    for dimension, first in ((STRATEGY, STRATEGIES), (SEED, FIRST_SEEDS)):
        if not instance.get_dynamic_partitions(dimension):
            instance.add_dynamic_partitions(dimension, list(first))


def add_partition(instance: dg.DagsterInstance, key: dg.MultiPartitionKey) -> None:
    """Adds a partition's strategy and seed where they are new."""
    for dimension, value in key.keys_by_dimension.items():
        instance.add_dynamic_partitions(dimension, [value])


def materialized_partitions(instance: dg.DagsterInstance, asset: str) -> list[str]:
    """The partitions of an asset that have been materialized and that nobody has deleted, sorted by their text."""
    there = set(EXPERIMENTS.get_partition_keys(dynamic_partitions_store=instance))
    return sorted(there & instance.get_materialized_partitions(dg.AssetKey(asset)))
