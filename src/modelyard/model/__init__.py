"""One model's files, and running it."""

import os

# ONNX Runtime's own builds report to its makers, by a thread that connects out and a database in the home folder,
# unless this is said before it is imported. Only modules of this package import it, and so only after this line.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 - a word to a library, nothing of ours is read
