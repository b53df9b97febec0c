from sentiment_tf.reporting import export_table, model_card


def test_cells_by_hand(run):
    saved_model, litert, onnx = export_table.cells(run["exports"])
    assert saved_model == ["SavedModel", "float32", "91.0 MB", "6.1 ms", "312 texts/s", "3e-06", "as trained"]
    assert litert[:3] == ["LiteRT", "int8", "24.9 MB"]
    assert litert[-1] == "78.7 % (+0.1 points, 95 % interval -0.4 to +0.6, 853 texts)"
    assert onnx[-1] == "left out: -1.2 points, 95 % interval -0.4 to +0.6, 853 texts"


def test_the_card_has_the_table(run, tmp_path):
    model_card.write(tmp_path / "README.md", run=run)
    text = (tmp_path / "README.md").read_text()
    assert f"| {' | '.join(export_table.HEADINGS)} |\n|---|" in text
    assert "| SavedModel | float32 | 91.0 MB |" in text
