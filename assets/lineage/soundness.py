"""Whether the champion is still at least as good as what it replaced, by the evaluations on record."""

from collections.abc import Mapping, Sequence
from typing import Any

from assets.evaluation.alike import are_alike
from assets.lineage.promotion import ACCURACY, LOSS, SPLIT, Decision, PromotionRule, compare, standing
from assets.outcome import Outcome

Record = Mapping[str, Any]
"""The lineage record of an evaluation."""


def champion_holds(
    model: str,
    decisions: Sequence[Decision],
    evaluations: Sequence[Record],
    baselines: Sequence[Record],
    *,
    loss_tolerance: float,
    accuracy_tolerance: float,
) -> Outcome:
    """Whether the champion of `model` is no worse in the mean over tasks than the version that it replaced.

    `decisions` are the model's, in order; `evaluations` of its versions and `baselines` of the base model are newest
    first. The newest pair on the same data with the same settings counts. Without a version before it, the base
    model is what it is held against. Tolerances are in nats a token and as a share. Passes, and says so, where there
    is no champion or nothing to compare.
    """
    bounds = {"loss_tolerance": loss_tolerance, "accuracy_tolerance": accuracy_tolerance}
    stands = standing(decisions)
    if stands is None or stands.version is None:
        return Outcome(True, {"compared": False, **bounds}, f"{model} has no champion yet", "")
    ours = _of_version(evaluations, stands.version)
    before = stands.previous_version
    theirs = _of_version(evaluations, before) if before else list(baselines)
    against = f"version {before}, which it replaced" if before else "the base model"
    pairs = ((one, other) for one in ours for other in theirs if are_alike(one, other))
    pair = next((pair for pair in pairs if _metrics(pair[0])), None)
    if pair is None:
        return Outcome(
            True,
            {"compared": False, "champion": stands.version, **bounds},
            f"Not compared: version {stands.version} of {model} and {against} have no evaluation of the same test "
            "examples with the same settings",
            "",
        )
    metrics = _metrics(pair[0])
    rule = PromotionRule(
        loss_margin=0.0 if LOSS in metrics else None, accuracy_margin=0.0 if ACCURACY in metrics else None
    )
    ours_rows, theirs_rows = (record["facts"]["rows"] for record in pair)
    means = [one for one in compare(ours_rows, theirs_rows, rule) if one.what == "mean"]
    tolerances = {LOSS: loss_tolerance, ACCURACY: accuracy_tolerance}
    numbers = "; ".join(
        f"mean {one.metric} {one.candidate:.4f} against {one.champion:.4f} ({tolerances[one.metric]:g} worse is "
        "allowed)"
        for one in means
    )
    return Outcome(
        all(one.gain >= -tolerances[one.metric] for one in means),
        {
            "compared": True,
            "champion": stands.version,
            **{f"{one.metric}_of_champion": one.candidate for one in means},
            **{f"{one.metric}_before": one.champion for one in means},
            **bounds,
        },
        f"The champion, version {stands.version} of {model}, held against {against}: {numbers}",
        f"Take the promotion back: sultana rollback {model}; or promote a better version: sultana promote {model}",
    )


def _of_version(evaluations: Sequence[Record], version: int) -> list[Record]:
    return [one for one in evaluations if one["facts"].get("version") == version]


def _metrics(evaluation: Record) -> set[str]:
    """Which of loss and accuracy were measured on the test split."""
    return {row["metric"] for row in evaluation["facts"]["rows"] if row["split"] == SPLIT} & {LOSS, ACCURACY}
