"""The command train in a process of its own, which verifies its exports itself instead of starting another process.

python -m tests.support.quick_train --flags…
"""

import runpy

from sentiment_tf.exporting import verification
from tests.support import verifying_here

if __name__ == "__main__":
    verification.fresh_process = verifying_here.fresh_process
    runpy.run_module("sentiment_tf.train", run_name="__main__", alter_sys=True)
