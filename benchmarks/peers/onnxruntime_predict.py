"""Raw text to label by ONNX Runtime: float32, or int8 by `quantize_dynamic`."""

import os

import common
import onnx_common
import onnx_export
import onnxruntime


def load(arguments):
    """Opens a session over all cores, its graph optimised."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(
        str(onnx_export.path_of(arguments)), options, providers=["CPUExecutionProvider"]
    )

    def infer(ids, mask):
        return session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]

    return onnx_common.tokenizer_of(arguments), infer


if __name__ == "__main__":
    common.measure_pass(
        __doc__,
        load=load,
        prepare=lambda loaded, texts: texts,
        run=lambda loaded, texts: onnx_common.classify(*loaded, texts),
    )
