"""Peer: cleanlab's ranking of labels, by scikit-learn's LogisticRegression over the same features.

cleanlab_rank.py FEATURES.npz SCORES.npy: reads ``features`` and ``labels``, writes a score per row, higher is worse.
"""

import sys

import cleanlab.rank
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if __name__ == "__main__":
    source, target = sys.argv[1:]
    with np.load(source) as arrays:
        features, labels = arrays["features"], arrays["labels"]
    order = np.random.default_rng(0).permutation(len(labels))  # the rows are sorted by their true label
    features, labels = features[order], labels[order]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probabilities = cross_val_predict(model, features, labels, cv=5, method="predict_proba")
    scores = np.empty(len(labels))
    scores[order] = -cleanlab.rank.get_label_quality_scores(labels, probabilities)
    np.save(target, scores)
