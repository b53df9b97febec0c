"""What is measured: items of work, and who does each."""

from typing import NamedTuple

from sentiment_tf.config import TrainConfig, resolve

BF16 = "--precision=bfloat16"
INT8 = "--precision=int8"
WHOLE = "Raw texts to trained weights; accuracy on held-out rows, mean and range over the rounds' seeds."


class Contestant(NamedTuple):
    """One row of an item's table: a program of ``peers/`` with its flags."""

    name: str
    program: str
    flags: tuple[str, ...] = ()
    before: str | None = None  # a program that is run once with the same flags, not measured
    slow: bool = False  # may be measured on fewer rows, and its time scaled up

    @property
    def ours(self) -> bool:
        """Whether this is the project itself, not a peer."""
        return self.program.startswith("ours")


class Item(NamedTuple):
    """One table: the same work, done by each contestant."""

    title: str
    note: str
    contestants: tuple[Contestant, ...]
    flags: tuple[str, ...] = ()
    data: str = "rotten_tomatoes"
    rows: str = "train"  # or "all": every row of every split
    training: bool = True
    model: str = "minilm"  # or "distilbert": its size, with random weights
    few_steps: bool = False  # trains for --steps and compares the rate of the steps alone


def _training(layers: str, dataset: str = "rotten_tomatoes") -> tuple[str, str]:
    """Returns the flags for training the head (0), k blocks under it, or all, at this project's default rate."""
    config = TrainConfig(dataset=dataset, trainable_layers=layers, head="sgd" if layers == "0" else None)
    return f"--trainable={'head' if layers == '0' else layers}", f"--learning_rate={resolve(config).learning_rate}"


def _ours(name: str, *flags: str, **fields) -> Contestant:
    return Contestant(f"ours, {name}", "ours.py", flags, **fields)


TRAINER = Contestant("PyTorch Trainer, defaults, float32", "trainer.py")
TRAINER_BF16 = Contestant("PyTorch Trainer, defaults, bf16", "trainer.py", (BF16,))
TUNED = Contestant("PyTorch, tuned loop, bf16", "tuned_torch.py", (BF16,))
TUNED_COMPILED = Contestant("PyTorch, tuned loop, bf16, torch.compile", "tuned_torch.py", (BF16, "--compile"))
REGRESS_BF16 = Contestant("PyTorch bf16, encode once + LogisticRegression", "regress_torch.py", (BF16,))
REGRESS = Contestant("PyTorch float32, encode once + LogisticRegression", "regress_torch.py")
REGRESS_OPENVINO = Contestant(
    "OpenVINO bf16, encode once + LogisticRegression", "regress_openvino.py", (BF16,), before="onnx_export.py"
)
KERAS_FIT = Contestant("transformers' TF, Keras fit, padded to 128", "tf_keras_fit.py", slow=True)
KERAS_HUB = Contestant("KerasHub DistilBertTextClassifier, padded to 128", "keras_hub_fit.py", slow=True)

ENGINES = (
    Contestant("ONNX Runtime, int8 (quantize_dynamic)", "onnxruntime_predict.py", (INT8,), before="onnx_export.py"),
    Contestant("OpenVINO, bf16", "openvino_predict.py", (BF16,), before="onnx_export.py"),
    Contestant("ONNX Runtime, float32", "onnxruntime_predict.py", before="onnx_export.py"),
    Contestant("OpenVINO, float32", "openvino_predict.py", before="onnx_export.py"),
    Contestant("PyTorch loop, float32", "torch_predict.py"),
    Contestant("PyTorch loop, bf16 autocast", "torch_predict.py", (BF16,)),
    Contestant("ours, LiteRT int8", "ours_predict.py", ("--engine=litert", INT8), before="ours_export.py"),
    Contestant("ours, LiteRT float32", "ours_predict.py", ("--engine=litert",)),
    Contestant("ours, TensorFlow float32", "ours_predict.py", ("--engine=tensorflow",)),
    Contestant("ours, TensorFlow bf16", "ours_predict.py", ("--engine=tensorflow", BF16)),
)
AS_LOADED = (
    "Raw text to label, model loaded beforehand, texts of like length together; one text: the median of 50 calls."
)

ITEMS = {
    "rotten_tomatoes_head": Item(
        "Rotten Tomatoes, head only",
        f"{WHOLE} “Cached features” is a second run over rows that an earlier run has seen.",
        (
            REGRESS_OPENVINO,
            REGRESS_BF16,
            REGRESS,
            _ours("int8 encoder, solved head", INT8),
            _ours("bf16 encoder, solved head", BF16),
            _ours("float32 encoder, solved head"),
            _ours("bf16 encoder, head by SGD", BF16, "--head=sgd"),
            _ours("int8, cached features", INT8, "--cache=warm", before="ours.py"),
            TRAINER,
            TRAINER_BF16,
            TUNED,
            KERAS_FIT,
            KERAS_HUB,
        ),
        _training("0"),
    ),
    "sst2_head": Item(
        "SST-2, head only",
        WHOLE,
        (
            REGRESS_OPENVINO,
            REGRESS_BF16,
            _ours("int8 encoder, solved head", INT8),
            _ours("bf16 encoder, solved head", BF16),
            _ours("bf16 encoder, head by SGD", BF16, "--head=sgd"),
            TUNED,
        ),
        _training("0", "sst2"),
        data="sst2",
    ),
    "sst2_depth": Item(
        "SST-2 by depth",
        f"{WHOLE} Each depth at its default rate.",
        tuple(
            _ours(f"{name}, bf16", BF16, *_training(layers, "sst2"))
            for name, layers in (
                ("top block", "1"),
                ("top 2 blocks", "2"),
                ("top 3 blocks", "3"),
                ("everything", "all"),
            )
        ),
        data="sst2",
    ),
    "rotten_tomatoes_all": Item(
        "Rotten Tomatoes, full fine-tuning",
        "Examples per second of the training steps alone, over a limited number of them; accuracy on held-out rows is "
        "what these few steps reach.",
        (_ours("bf16", BF16), _ours("float32"), TRAINER, TRAINER_BF16, TUNED, TUNED_COMPILED),
        _training("all"),
        few_steps=True,
    ),
    "distilbert_all": Item(
        "Full fine-tuning at DistilBERT's size (768 wide, 6 blocks, random weights)",
        "Examples per second of the training steps alone, over a limited number of them.",
        (_ours("bf16", BF16), TUNED, TUNED_COMPILED),
        _training("all"),
        model="distilbert",
        few_steps=True,
    ),
    "rotten_tomatoes_depth": Item(
        "Rotten Tomatoes by depth",
        WHOLE,
        (
            _ours("top block, bf16", BF16, *_training("1")),
            _ours("top 2 blocks, bf16", BF16, *_training("2")),
            _ours("top 2 blocks, float32", *_training("2")),
            _ours("everything, bf16", BF16, *_training("all")),
        ),
    ),
    "forward": Item(
        "Encoder forward pass, Rotten Tomatoes texts",
        "Length-sorted batches of 64, token ids to hidden states; ours computes of the last block what a classifier "
        "reads, the [CLS] vector.",
        (
            Contestant("ours, bf16", "ours_forward.py", (BF16,)),
            Contestant("ours, float32", "ours_forward.py"),
            Contestant("transformers' TF, float32", "tf_forward.py"),
            Contestant("PyTorch, float32", "torch_forward.py"),
            Contestant("PyTorch, bf16 autocast", "torch_forward.py", (BF16,)),
            Contestant("PyTorch, bf16 weights", "torch_forward.py", ("--precision=bfloat16_weights",)),
        ),
        rows="all",
        training=False,
    ),
    "engines": Item("Prediction by engine, Rotten Tomatoes texts", AS_LOADED, ENGINES, rows="all", training=False),
    "engines_distilbert": Item(
        "Prediction by engine at DistilBERT's size (768 wide, 6 blocks, random weights)",
        AS_LOADED,
        ENGINES,
        rows="all",
        training=False,
        model="distilbert",
    ),
    "engines_imdb": Item(
        "Prediction by engine, IMDb texts of up to 256 tokens",
        AS_LOADED,
        tuple(contestant for contestant in ENGINES if contestant.program != "torch_predict.py"),
        ("--max_length=256",),
        data="imdb",
        rows="all",
        training=False,
    ),
    "predict": Item(
        "Raw text to label, Rotten Tomatoes texts",
        "Float32, model loaded beforehand. With TensorFlow the pipeline runs text by text, also when it is asked for "
        "batches of 64, as here; its memory holds PyTorch, which it imports. The compiled loop is what one may write "
        "instead.",
        (
            Contestant("ours, SavedModel", "ours_predict.py", ("--engine=tensorflow",), before="ours_export.py"),
            Contestant("transformers' TF pipeline", "tf_pipeline.py", slow=True),
            Contestant("transformers' TF, compiled, length-sorted batches of 64", "tf_predict.py"),
            Contestant("PyTorch loop, length-sorted batches of 64", "torch_predict.py"),
        ),
        rows="all",
        training=False,
    ),
}
