"""Time of the leak audit per row, for 10⁴, 10⁵ and 10⁶ rows of random words.

  .venv/bin/python benchmarks/leak_audit.py

One row in ten belongs to the validation split, and one validation row in a hundred repeats a training row. A text has
12 words on average, so that even 10⁶ rows stay below `leaks.MOST_WORDS` and every kind of leak is looked for.
"""

import argparse
import time

import datasets
import numpy as np

from sentiment_tf.data import leaks, loading

WORDS = 30_000  # in the vocabulary; word n is drawn with a probability proportional to 1/n
MEAN_LENGTH = 12


def main() -> None:
    """Prints a line for each number of rows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    options = options.parse_args()
    print(f"{'rows':>10} {'seconds':>9} {'µs a row':>9}  leaked rows, kinds looked for")
    for count in options.rows:
        splits = make_splits(count, seed=0)
        began = time.perf_counter()
        found = leaks.audit({split: loading.text_array(rows) for split, rows in splits.items()}, "validation")
        seconds = time.perf_counter() - began
        leaked = f"{found['leaked']['total']:,}, {' '.join(found['kinds'])}"
        print(f"{count:>10,} {seconds:>9.2f} {1e6 * seconds / count:>9.1f}  {leaked}", flush=True)


def make_splits(count: int, *, seed: int) -> dict[str, datasets.Dataset]:
    """Returns ``count`` rows with the column text, a tenth of them in "validation" and the others in "train"."""
    random = np.random.default_rng(seed)
    vocabulary = np.array([f"w{number}" for number in range(WORDS)])
    chances = 1 / np.arange(1, WORDS + 1)
    lengths = random.poisson(MEAN_LENGTH, count)
    words = random.choice(vocabulary, lengths.sum(), p=chances / chances.sum())
    texts = [" ".join(text) for text in np.split(words, np.cumsum(lengths)[:-1])]
    validation, train = texts[: count // 10], texts[count // 10 :]
    validation[::100] = train[: len(validation[::100])]
    return {
        "train": datasets.Dataset.from_dict({"text": train}),
        "validation": datasets.Dataset.from_dict({"text": validation}),
    }


if __name__ == "__main__":
    main()
