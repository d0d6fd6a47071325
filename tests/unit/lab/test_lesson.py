"""A part of a lesson is a lesson."""

import numpy as np
import pandas as pd

from modelyard.core.manifest import Task
from modelyard.lab.columns import choose
from modelyard.lab.lesson import Lesson


def test_rows():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    whole = Lesson(Task.REGRESSION, frame, np.array([10.0, 20.0, 30.0]), choose(frame), frozenset({"x"}))
    part = whole.rows(np.array([2, 0]))
    assert part.inputs["x"].tolist() == [3.0, 1.0]
    assert part.answers.tolist() == [30.0, 10.0]
    assert (part.task, part.columns, part.sparse) == (whole.task, whole.columns, whole.sparse)
