"""Boosting sees missing numbers as missing: it learns from the gap itself."""

import numpy as np
import pandas as pd

from modelyard.core.manifest import Task
from modelyard.lab.columns import choose, to_inputs
from modelyard.lab.lesson import Lesson
from modelyard.lab.recipe import Recipe
from modelyard.lab.train import boosting


def test_a_gap_is_information():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    gone = rng.random(400) < 0.3
    frame = pd.DataFrame({"x": np.where(gone, np.nan, values)})
    columns = choose(frame)
    lesson = Lesson(Task.REGRESSION, to_inputs(frame, columns), np.where(gone, 100.0, values), columns, frozenset("x"))
    learnt = boosting.train(lesson, Recipe(target="y", model="boosting"))
    assert learnt.pipeline.predict(pd.DataFrame({"x": [np.nan]}))[0] > 90  # the median would have given about 0
