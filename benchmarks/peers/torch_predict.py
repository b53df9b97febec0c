"""Raw text to label by a PyTorch loop: fast tokenizer, length-sorted, batches of 64."""

import common
import torch_common

if __name__ == "__main__":
    common.measure_pass(__doc__, load=torch_common.load, prepare=lambda loaded, texts: texts, run=torch_common.classify)
