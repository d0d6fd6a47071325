"""Random forests are small enough to serve, and answer the same every time."""

import numpy as np

from modelyard.lab.recipe import Recipe
from modelyard.lab.train import forest
from tests.lessons import houses


def test_depth_and_leaves_are_bounded():
    learnt = forest.train(houses().lessons[0], Recipe(target="price", model="forest"))
    trees = [tree.tree_ for tree in learnt.pipeline[-1].estimators_]
    assert len(trees) == learnt.parameters["trees"]
    assert max(tree.max_depth for tree in trees) <= learnt.parameters["max_depth"]
    assert min(tree.n_node_samples[tree.children_left < 0].min() for tree in trees) >= 1


def test_answers_are_added_up_in_one_order():
    lesson = houses().lessons[0]
    learnt = forest.train(lesson, Recipe(target="price", model="forest"))
    answers = [learnt.pipeline.predict(lesson.inputs) for _ in range(5)]
    for other in answers[1:]:
        np.testing.assert_array_equal(answers[0], other)


def test_the_seed_decides():
    lesson = houses().lessons[0]
    one, two = (
        forest.train(lesson, Recipe(target="price", model="forest", seed=seed)).pipeline.predict(lesson.inputs)
        for seed in (1, 2)
    )
    assert (one != two).any()
