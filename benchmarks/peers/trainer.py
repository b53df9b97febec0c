"""Peer (a): transformers' Trainer with its defaults, dynamic padding, batches of 32.

Of the defaults only what a comparison needs is changed: no checkpoints, no logging, and everyone's learning rate.
"""

import common
import datasets
import torch_common
import transformers


def train(loaded, arguments, texts, labels, steps) -> None:
    """Raw texts to trained weights, as transformers' own course does it."""
    model, tokenizer, _ = loaded

    def encode(rows):
        return tokenizer(rows["text"], truncation=True, max_length=common.MAX_LENGTH)

    class Ticks(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            steps.end()

    torch_common.freeze(model, arguments.depth)
    rows = datasets.Dataset.from_dict({"text": texts, "label": labels})
    transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=arguments.scratch,
            per_device_train_batch_size=common.BATCH_SIZE,
            num_train_epochs=arguments.epochs,
            learning_rate=arguments.learning_rate,
            bf16=arguments.precision == "bfloat16",
            seed=arguments.seed,
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
        ),
        train_dataset=rows.map(encode, batched=True, remove_columns="text"),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        callbacks=[Ticks()],
    ).train()


if __name__ == "__main__":
    datasets.disable_progress_bars()
    common.measure_training(__doc__, load=torch_common.load, train=train, classify=torch_common.classify)
