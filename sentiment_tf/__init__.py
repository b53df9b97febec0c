"""Fine-tune DistilBERT for sentiment with TensorFlow, from raw text to a model that is served."""

import os

# transformers' TensorFlow classes are Keras 2 code; this must be set before TensorFlow is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

__version__ = "0.1.0"
