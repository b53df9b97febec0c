"""PyTorch's encoder forward pass over length-sorted batches of token ids."""

import common
import torch
import torch_common


def prepare(loaded, texts):
    """Returns the padded batches."""
    ids = torch_common.tokenize(loaded.tokenizer, texts)
    return [torch_common.pad([ids[row] for row in rows]) for rows in common.by_length([len(row) for row in ids])]


@torch.inference_mode()
def run(loaded, work) -> None:
    """Runs the encoder on each batch."""
    with torch_common.autocast(loaded.precision):  # one context for all batches: weights are cast once
        for batch in work:
            loaded.model.distilbert(**batch)


if __name__ == "__main__":
    common.measure_pass(__doc__, load=torch_common.load, prepare=prepare, run=run)
