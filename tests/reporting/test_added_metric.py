"""A metric that is added to the list appears in every table, the report, TensorBoard, compare and the model card."""

import json

import pytest
from huggingface_hub import ModelCard
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from sentiment_tf import compare
from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import model_card, report, summary, tensorboard

ERROR_RATE = metrics.Metric(
    "error_rate",
    "Share of errors",
    higher_is_better=False,
    as_percent=True,
    function=lambda sample: 1 - sample.mean(sample.predictions.correct),
    interval="wilson",
    hub_type="error_rate",
)
WITHOUT_INTERVAL = metrics.Metric(
    "balanced_accuracy",
    "Balanced accuracy",
    higher_is_better=True,
    as_percent=False,
    function=lambda sample: (sample.true_positives / sample.support).mean(axis=1),
    interval=None,
)


@pytest.fixture(autouse=True)
def added(monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, ERROR_RATE, WITHOUT_INTERVAL))


@pytest.fixture
def measured(added, run, rows):
    """The run with the added metrics; after training, 2 of 20 rows of class 0 are wrong and 1 of 20 of class 1."""
    before, after = (
        metrics.evaluate(logits, rows.labels, resamples=50) for logits in (rows.logits_before, rows.logits_after)
    )
    return run | {"metrics": {"before": before, "after": after}}


def test_evaluate_gives_its_value_and_its_interval(measured):
    after = measured["metrics"]["after"]
    assert after["error_rate"] == pytest.approx(3 / 40)
    assert after["balanced_accuracy"] == pytest.approx((18 / 20 + 19 / 20) / 2)
    low, high = after["intervals"]["accuracy"]
    assert after["intervals"]["error_rate"] == pytest.approx([1 - high, 1 - low])
    assert "balanced_accuracy" not in after["intervals"]


def test_terminal(measured):
    lines = summary.table(measured["metrics"], colour=True).splitlines()
    (errors,) = (line for line in lines if line.startswith("Share of errors"))
    assert " 7.5 %  [" in errors
    assert "\x1b[32m-" in errors  # fewer errors are better: green
    (balanced,) = (line for line in lines if line.startswith("Balanced accuracy"))
    assert "0.925" in balanced
    assert "[" not in balanced.replace("\x1b[", "")


def test_report(measured, rows, tmp_path):
    report.write(tmp_path / "report.html", run=measured, rows=rows)
    table = (tmp_path / "report.html").read_text(encoding="utf-8").split("<tbody>")[1].split("</tbody>")[0]
    (errors,) = (row for row in table.split("<tr>") if "Share of errors" in row)
    assert "<td>7.5 %<small>" in errors
    assert 'class="good"' in errors
    (balanced,) = (row for row in table.split("<tr>") if "Balanced accuracy" in row)
    assert "<td>0.925<small></small>" in balanced


def test_tensorboard(measured, rows, tmp_path):
    tensorboard.write_results(tmp_path, run=measured, rows=rows)
    found = event_accumulator.EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    found.Reload()
    (event,) = found.Tensors("result/error_rate")
    assert float(tensor_util.make_ndarray(event.tensor_proto)) == pytest.approx(3 / 40)
    content = found.SummaryMetadata("_hparams_/experiment").plugin_data.content
    columns = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert {"result/error_rate", "result/balanced_accuracy"} <= {column.name.tag for column in columns}


def test_compare(measured, tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "run.json").write_text(json.dumps(measured))
    header, line = (row.split() for row in compare.metrics_table(compare.read([tmp_path / "films"])).splitlines())
    assert header[-2:] == ["error_rate", "balanced_accuracy"]
    assert line[-3:] == ["7.5", "%", "0.925"]


def test_model_card(measured, tmp_path):
    model_card.write(tmp_path / "README.md", run=measured)
    card = ModelCard.load(tmp_path / "README.md")
    (errors,) = (line for line in card.text.splitlines() if line.startswith("| Share of errors"))
    assert "| 7.5 % (" in errors
    assert "| Balanced accuracy | " in card.text
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["error_rate"] == pytest.approx(3 / 40)
    assert "balanced_accuracy" not in values  # it has no name on the hub


def test_where_it_divides_by_zero_it_is_undefined():
    result = metrics.evaluate([[0, 2], [0, 1]], [1, 1], resamples=20)
    assert result["error_rate"] == 0.0
    assert result["balanced_accuracy"] is None
