"""The pictures: what is drawn and what is written on them."""

import warnings
import xml.etree.ElementTree

import matplotlib
import numpy as np
import pytest

from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import diagnostics, plots, style

EPOCHS = [
    {"epoch": 1, "loss": 0.6, "accuracy": 0.7, "val_loss": 0.55, "val_accuracy": 0.72, "seconds": 90.0},
    {"epoch": 2, "loss": 0.5, "accuracy": 0.8, "val_loss": 0.45, "val_accuracy": 0.81, "seconds": 90.0},
]


def drawn(axes):
    """{label: ([x, …], [y, …])} of the lines that stand in the legend."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def texts(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_history_holds_the_numbers_it_was_given():
    left, right = plots.history(EPOCHS, before={"loss": 0.7, "accuracy": 0.5}).axes
    assert drawn(left) == {"training": ([1, 2], [0.6, 0.5]), "validation": ([0, 1, 2], [0.7, 0.55, 0.45])}
    assert drawn(right) == {"training": ([1, 2], [0.7, 0.8]), "validation": ([0, 1, 2], [0.5, 0.72, 0.81])}
    for axes in (left, right):
        assert axes.get_title(loc="left")
        assert axes.get_xlabel() == "epoch, and minutes since the start"
        assert axes.get_ylabel()


def test_history_says_the_best_and_the_times():
    words = texts(plots.history(EPOCHS))
    assert "best 81.0%" in words
    assert "2\n3.0" in words


@pytest.mark.parametrize("column", ["seconds", "val_loss", "loss"])
def test_history_of_one_epoch_with_something_missing(column):
    row = {name: value for name, value in EPOCHS[0].items() if name != column}
    figure = plots.history([row])
    assert "1" in [word.split("\n")[0] for word in texts(figure)]
    low, high = figure.axes[1].get_ylim()
    assert high - low >= 0.05 - 1e-9  # a small difference must not fill the picture


def test_comparison_shows_both_values_their_intervals_and_the_baseline():
    before = {"accuracy": 0.5, "examples": 10, "intervals": {"accuracy": [0.4, 0.6]}}
    after = {"accuracy": 0.764, "examples": 10, "confusion": [[6, 0], [1, 3]]}
    figure = plots.comparison(before, after)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.5, 0.764]
    words = texts(figure)
    assert {"50.0%", "76.4%", "always the larger class: 60.0%", "before", "after"} <= set(words)


def test_the_baseline_goes_through_no_number():
    result = {
        "accuracy": 0.03,
        "intervals": {"accuracy": [0.01, 0.08]},
        "confusion": [[3, 15], [82, 0]],
        "examples": 100,
    }
    (axes,) = plots.comparison(result, result).axes
    assert [number.xy[1] for number in axes.texts] == [0.08, 0.08]  # below the line at 82 %
    close = result | {"confusion": [[3, 15]]}
    (axes,) = plots.comparison(close, close).axes
    assert [number.xy[1] for number in axes.texts] == [0.18, 0.18]  # on the line at 18 %


def test_comparison_of_perfect_models_covers_no_legend():
    perfect = {"accuracy": 1.0, "examples": 10, "confusion": [[5, 0], [0, 5]]}
    figure = plots.comparison(perfect, perfect)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    (axes,) = figure.axes
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize("best", [(0, 0.05), (1, 0.05), (3, 0.0), (3, 1.0)])
def test_the_best_accuracy_stays_inside_its_axes(best):
    epoch, value = best
    epochs = [{"epoch": n, "val_accuracy": value if n == epoch else value * 0.9, "seconds": 1.0} for n in (1, 2, 3)]
    figure = plots.accuracy(epochs, before={"accuracy": value if epoch == 0 else value * 0.9})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (text,) = (text for text in axes.texts if text.get_text().startswith("best"))
    box, frame = text.get_window_extent(), axes.get_window_extent()
    assert frame.x0 <= box.x0
    assert box.x1 <= frame.x1
    assert frame.y0 <= box.y0
    low, high = axes.get_ylim()
    assert low >= -0.01
    assert high <= 1.06


def test_confusion_counts_and_shares():
    words = texts(diagnostics.confusion([[8, 2], [5, 5]], ["bad", "good"]))
    assert {"8\n80%", "2\n20%", "5\n50%", "bad", "good", "predicted", "true class"} <= set(words)


def test_confusion_of_twenty_classes_names_and_counts_them_all_and_a_class_may_be_empty():
    names = [f"class number {n}" for n in range(20)]
    figure = diagnostics.confusion(np.diag(range(100, 120)), names)
    assert {*names, *map(str, range(100, 120))} <= set(texts(figure))
    cells = [text for text in figure.axes[0].texts if text.get_text() == "119"]
    width = figure.axes[0].get_window_extent().width / 20
    assert all(text.get_window_extent().width < width for text in cells)
    assert "0\n0%" in texts(diagnostics.confusion([[0, 0], [1, 3]], ["a", "b"]))


def test_names_stay_on_their_line():
    words = texts(diagnostics.confusion([[1, 0], [0, 1]], ["line\nbreak", "b"]))
    assert "line break" in words
    assert "a run" in texts(plots.runs([{"name": "a\nrun", "accuracy": 0.75, "interval": None}]))


def test_confusion_of_many_classes_is_one_image_with_some_names():
    names = [f"a long name of class {n}" for n in range(200)]
    figure = diagnostics.confusion(np.eye(200, dtype=int), names)
    (axes,) = figure.axes
    assert len(axes.patches) == 0
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), np.eye(200))
    assert list(image.get_extent()) == [0, 200, 200, 0]
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert len(ticks) == 25
    assert {len(name) for name in ticks} == {18}
    svg = style.svg(figure, name="many", description="of many")
    assert svg.count("data:image/png") == 1
    assert len(svg) < 100_000
    xml.etree.ElementTree.fromstring(svg)


def test_roc_of_many_classes_draws_the_largest():
    labels = np.repeat(np.arange(9), [9, 8, 1, 7, 1, 6, 5, 4, 0])
    logits = np.random.default_rng(0).normal(size=(len(labels), 9))
    (axes,) = diagnostics.roc(logits, labels, ["x" * 40, *"bcdefghi"]).axes
    assert [name.split(":")[0] for name in drawn(axes)] == ["x" * 17 + "…", "b", "d", "f", "g", "h"]
    assert axes.get_title(loc="left") == "ROC curve: 6 largest of 8 classes"


def test_names_in_scripts_that_the_font_lacks_warn_of_nothing(tmp_path):
    names = ["好", "😀", "हिन्दी"]
    figure = diagnostics.confusion(np.eye(3, dtype=int), names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        style.save(figure, tmp_path / "names.png")
        style.pixels(figure)
        svg = style.svg(figure, name="names", description="names")
    assert caught == []
    assert all(name in svg for name in names)


def test_reliability_and_roc_name_their_numbers(rows):
    words = texts(diagnostics.reliability(rows.logits_after, rows.labels, temperature=2.0))
    expected, trained = (metrics.evaluate(times * rows.logits_after, rows.labels, resamples=0) for times in (1, 2))
    assert f"as trained: ECE {trained['ece']:.3f}" in words
    assert f"temperature 2.00: ECE {expected['ece']:.3f}" in words
    words = texts(diagnostics.roc(rows.logits_after, rows.labels, ["a", "b"], before=rows.logits_before))
    assert f"after: area {expected['roc_auc']:.3f}" in words
    assert any(word.startswith("before: area") for word in words)


def test_by_length_labels_every_group():
    rows = [
        {"from": 3, "to": 9, "examples": 1200, "accuracy": 0.8, "interval": [0.7, 0.9]},
        {"from": 10, "to": 10, "examples": 7, "accuracy": 1.0, "interval": [0.6, 1.0]},
    ]
    assert {"3–9\n(1,200)", "10\n(7)", "80%", "100%"} <= set(texts(diagnostics.by_length(rows)))


def test_depth_and_runs():
    rows = [
        {"trainable_layers": 0, "accuracy": 0.74, "seconds": 60.0},
        {"trainable_layers": "all", "accuracy": 0.8, "seconds": 600.0, "chosen": True},
    ]
    figure = plots.depth(rows)
    assert {"0", "all (chosen)", "minutes"} <= set(texts(figure))
    names = texts(plots.runs([{"name": "x" * 50, "accuracy": 0.75, "interval": None}]))
    assert "…" + "x" * 31 in names
    assert "75.0%" in names


def test_png_is_large_enough_to_be_halved(tmp_path):
    style.save(plots.history(EPOCHS), tmp_path / "history.png")
    header = (tmp_path / "history.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20], "big") >= 1400


def test_svg_is_sound_with_ids_of_its_own_and_the_pages_colours():
    svg = style.svg(plots.loss(EPOCHS), name="one", description='say "<hi>" & so')
    root = xml.etree.ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'say "<hi>" & so'
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(name.startswith("one-") for name in ids)
    assert len(ids) == len(set(ids))
    assert "currentColor" in svg
    assert "var(--blue, #0072b2)" in svg
    assert "http" not in svg
    assert svg == style.svg(plots.loss(EPOCHS), name="one", description='say "<hi>" & so')


def test_the_users_own_matplotlib_settings_are_left_alone_and_ignored():
    with matplotlib.rc_context({"font.size": 40, "axes.facecolor": "black"}):
        figure = plots.loss(EPOCHS)
        assert matplotlib.rcParams["font.size"] == 40
    assert figure.axes[0].xaxis.label.get_size() == 11
