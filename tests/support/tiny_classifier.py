"""A small DistilBERT with random weights, built in memory."""


def make_tiny_classifier(*, seed: int, blocks: int = 3, classes: int = 2):
    import tf_keras as keras
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification, logging

    logging.set_verbosity_error()
    keras.utils.set_random_seed(seed)
    config = DistilBertConfig(
        vocab_size=200,
        dim=32,
        n_layers=blocks,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        num_labels=classes,
    )
    model = TFDistilBertForSequenceClassification(config)
    model(model.dummy_inputs)
    return model
