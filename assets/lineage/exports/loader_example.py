"""The loss of a step with a model of transformers. In the exported folder: python -m loader.example MODEL

MODEL is a folder or an id of the Hugging Face Hub.
"""

import sys
from pathlib import Path
from typing import Any

from assets.interpolation.hidden_layer import mixed_before
from assets.interpolation.mixing import mixed_embeddings
from assets.lineage.exports.batch_loader import Step, batches, load_rows


def step_loss(model: Any, step: Step) -> Any:
    """The loss of a step, a scalar tensor with gradients; those of one number add up."""
    import torch

    batch, embedding = step.batch, model.get_input_embeddings()
    # Rows are padded on the right, so causal attention needs no mask.
    if batch.layer == 0:
        # λ·E[a] + (1 - λ)·E[b]; a row that is not mixed has the coefficients 1 and 0.
        logits = model(inputs_embeds=mixed_embeddings(embedding, batch), use_cache=False).logits
    else:
        # Both parents alone up to that layer, where their states are mixed in the same way.
        with mixed_before(model.get_decoder().layers, batch):
            logits = model(inputs_embeds=embedding(batch.ids.flatten(0, 1)), use_cache=False).logits
    logits = logits.flatten(0, 1)[batch.label_places].float()
    # λ·CE(a) + (1 - λ)·CE(b): one cross entropy for each parent; the label weights hold λ and 1 - λ.
    losses = [
        (weights * torch.nn.functional.cross_entropy(logits, labels, reduction="none")).sum()
        for labels, weights in zip(batch.labels, batch.label_weights, strict=True)
    ]
    return torch.stack(losses).sum() / step.divisor


def main(model_name: str, folder: Path) -> None:
    """Print the loss of the first batch."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_name)
    rows = load_rows(folder, AutoTokenizer.from_pretrained(model_name))
    step = next(batches(rows) if rows.is_curriculum else batches(rows, batch_size=8, seed=0))
    loss = step_loss(model, step)
    loss.backward()
    mixed = sum(len(row.parents) == 2 for row in step.rows)
    print(f"step {step.step}: {len(step.rows)} rows, {mixed} of them mixed, loss {loss.item():.6f}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(__file__).resolve().parent.parent)
