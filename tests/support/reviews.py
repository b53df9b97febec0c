"""All reviews of the packaged copies, as they stand in their file."""

import csv

from sentiment_tf.data import packaged, registry


def packaged_reviews() -> list[str]:
    csv.field_size_limit(10**7)
    with packaged.data_file(registry.lookup("imdb").packaged).open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert len(texts) == 33_530
    return texts
