"""A trained policy on disk, to start from on another pool or with another model.

A folder with the acquisition function's weights (`policy.safetensors`) and what they mean (`policy.json`): the
columns of the state, and the scaling of the pool they were learned on. On a new pool the columns are
standardised anew by default, so that a feature means its place among the pool's own rows, whatever model
measured it; `build_features(..., scaling=saved.scaling)` keeps the old scale instead. The critic is not kept:
what is still to be gained depends on the model, the reward split and the number of steps.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from assets.selection.raise_policy.acquisition import AcquisitionFunction, policy_sha256
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.features import FeatureLayout, Features, Scaling
from resources.errors import SultanaError
from resources.files import disk_full_explained, publish_folder

WEIGHTS = "policy.safetensors"
MEANING = "policy.json"
FORMAT = "sultana-raise-policy-1"


@dataclass(frozen=True, eq=False)
class SavedPolicy:
    """An acquisition function, the layout of the features it sees and the scaling they had."""

    function: AcquisitionFunction
    layout: FeatureLayout
    scaling: Scaling

    def check(self, features: Features, config: RaiseConfig) -> None:
        """Raise SultanaError where the policy cannot read these features or has another size."""
        if self.layout.pooling == "pca" or features.layout.pooling == "pca":
            raise SultanaError(
                "A policy over principal components cannot be used on another pool, whose components are others",
                "Train the policy with semantic_pooling adaptive, or start without it",
                code="policy-differs",
            )
        ours, theirs = asdict(features.layout), asdict(self.layout)
        for name, value in ours.items():
            if value != theirs[name]:
                raise SultanaError(
                    f"The policy to start from was trained on features with {name} = {_short(theirs[name])}; "
                    f"these have {_short(value)}",
                    "Build the features as those of the policy, or start without it",
                    code="policy-differs",
                )
        if self.function.hidden != config.hidden:
            raise SultanaError(
                f"The policy to start from has {self.function.hidden} hidden units; "
                f"RAISE setting hidden is {config.hidden}",
                f"Set hidden to {self.function.hidden}, or start without it",
                code="policy-differs",
            )


def save_policy(folder: Path, function: AcquisitionFunction, features: Features) -> None:
    """Write the policy trained on `features` into `folder`, which must not exist yet; whole or not at all."""
    temporary = folder.parent / f".partial-{folder.name}"
    meaning = {
        "format": FORMAT,
        "policy_sha256": policy_sha256(function),
        "hidden": function.hidden,
        "layout": asdict(features.layout),
        "means": features.scaling.means.tolist(),
        "deviations": features.scaling.deviations.tolist(),
    }
    with disk_full_explained(folder.parent):
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        weights = {name: weight.detach().clone() for name, weight in function.state_dict().items()}
        save_file(weights, temporary / WEIGHTS)
        text = json.dumps(meaning, indent=2, sort_keys=True, allow_nan=False) + "\n"
        (temporary / MEANING).write_text(text, encoding="utf-8")
        publish_folder(temporary, folder)


def load_policy(folder: Path) -> SavedPolicy:
    """The policy in `folder`. Raises SultanaError where there is none, or its weights are not those it names."""
    try:
        meaning = json.loads((folder / MEANING).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        if meaning["format"] != FORMAT:
            raise ValueError(f"its format is {meaning['format']!r}, not {FORMAT!r}")
        given = meaning["layout"]
        layout = FeatureLayout(
            tuple(given["names"]), given["pooling"], given["per_token"], given["standardise"]
        )
        function = AcquisitionFunction(len(layout.names), int(meaning["hidden"]), seed=0)
        function.load_state_dict(weights)
        if policy_sha256(function) != meaning["policy_sha256"]:
            raise ValueError("its weights are not those it was saved with")
        scaling = Scaling(np.array(meaning["means"], np.float64), np.array(meaning["deviations"], np.float64))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise SultanaError(
            f"There is no policy to start from in {folder}: {error}",
            "Name a folder that save_policy wrote",
            code="policy-missing",
        ) from error
    return SavedPolicy(function, layout, scaling)


def _short(value: object) -> str:
    if not isinstance(value, tuple | list):
        return repr(value)
    return f"{len(value)} columns ({', '.join(str(one) for one in value[-3:])} last)"
