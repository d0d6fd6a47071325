"""``python -m modelyard.serve``: a worker process, as the supervisor starts it."""

import gc
import os
import signal
import sys

# Until a worker hears them (`serve.app`). An interrupt that is raised while a C library is imported can be lost there.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

# Starting makes 35 000 objects to keep and hardly any garbage; looking for some took a tenth of the imports' time.
# `serve.memory.settle` turns it on again.
gc.disable()

from modelyard.serve.app import main  # noqa: E402 - as above

if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # threads of a model that never ends must not keep a drained worker alive
