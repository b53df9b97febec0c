"""Peer (b): a tuned PyTorch loop: length-grouped batches of 32, bf16 autocast, no gradient in the frozen part.

AdamW 0.01, linear schedule with 10 % warm-up, gradients clipped to norm 1.
"""

import random

import common
import torch
import torch_common
import transformers

POOL = 50  # batches that are sorted by length together, as transformers' LengthGroupedSampler has it


def batches(lengths: list[int]) -> list[list[int]]:
    """Returns an epoch's batches: random rows, texts of like length together, in random order."""
    order = random.sample(range(len(lengths)), len(lengths))
    size = POOL * common.BATCH_SIZE
    pools = [sorted(order[start : start + size], key=lengths.__getitem__) for start in range(0, len(order), size)]
    rows = [row for pool in pools for row in pool]
    cut = [rows[start : start + common.BATCH_SIZE] for start in range(0, len(rows), common.BATCH_SIZE)]
    return random.sample(cut, len(cut))


def optimizer_and_schedule(model, arguments, steps: int):
    """Returns AdamW over what is trained (no decay of biases and LayerNorm), and its linear schedule."""
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    groups = [
        {"params": [value for _, value in trained if value.ndim > 1], "weight_decay": 0.01},
        {"params": [value for _, value in trained if value.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate)
    return optimizer, transformers.get_linear_schedule_with_warmup(optimizer, round(0.1 * steps), steps)


def train(loaded, arguments, texts, labels, steps) -> None:
    """Raw texts to trained weights."""
    model, tokenizer, precision = loaded
    ids, labels = torch_common.tokenize(tokenizer, texts), torch.tensor(labels)
    lengths = [len(row) for row in ids]
    torch_common.freeze(model, arguments.depth)
    model.train()
    for part in torch_common.frozen_parts(model, arguments.depth):
        part.eval()  # no dropout; and autograd records nothing of modules whose inputs and weights need no gradient
    if arguments.compile:
        model.compile(dynamic=True)  # batches have many widths; one graph for each would be compiled for minutes
    total = arguments.epochs * -(-len(ids) // common.BATCH_SIZE)
    optimizer, schedule = optimizer_and_schedule(model, arguments, total)
    for _ in range(arguments.epochs):
        for rows in batches(lengths):
            with torch_common.autocast(precision):
                logits = model(**torch_common.pad([ids[row] for row in rows])).logits
            torch.nn.functional.cross_entropy(logits.float(), labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            steps.end()


if __name__ == "__main__":
    common.measure_training(__doc__, load=torch_common.load, train=train, classify=torch_common.classify)
