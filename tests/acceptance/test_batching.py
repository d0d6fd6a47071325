"""Requests that meet stay independent: real models, contracts and sockets; whatever the company, the same bytes."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn import compose, ensemble, impute, linear_model, naive_bayes, pipeline, preprocessing
from threadpoolctl import threadpool_limits

from modelyard.core.manifest import MODEL, SAMPLES, Manifest, Source
from modelyard.core.plan import MEASURED, Tuning
from modelyard.core.tensor import Array
from modelyard.model.bundle import Bundle, seal
from modelyard.model.convert import from_estimator
from modelyard.model.golden import record
from modelyard.model.runtime import load
from modelyard.model.trial import varied
from tests import models
from tests.acceptance.crowd import Crowd, Question, contracts, friendly, post, shortened, v2_grpc, v2_json
from tests.acceptance.serving import Served, plan_of

SIZE = 64  # requests at one moment
APART = "apart"  # the server in which nobody ever meets
SERVERS = {
    "measured": MEASURED,
    "threads": Tuning(inline=False, batch_rows=32, window_s=0.002),
    "small calls": Tuning(inline=True, batch_rows=5),
    APART: Tuning(batch_rows=1),
}
#: Its likelihoods are added up in an order that depends on the row's place: found at load, and never batched.
ALONE = "bayes"


def translated(name: str, estimator: object, x: pd.DataFrame, y: object) -> Bundle:
    """A fitted estimator as a bundle."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # convergence: not what is tested
        estimator.fit(x, y)  # type: ignore[attr-defined]
        made = from_estimator(estimator, x)
    manifest = Manifest(
        name=name, task=made.task, signature=made.signature, files={}, source=Source(format="sklearn-pickle")
    )
    samples = record(load(seal(manifest, {MODEL: made.onnx})), made.rows)
    return seal(manifest, {MODEL: made.onnx, SAMPLES: msgspec.json.encode(samples)})


def estimators() -> list[Bundle]:
    rng = np.random.default_rng(7)
    x = pd.DataFrame(rng.normal(size=(240, 5)) * [1, 10, 0.1, 3, 1] + [0, 50, 1, -2, 0], columns=list("abcde"))
    y = 3 * x["a"] - 0.5 * x["b"] + np.sin(x["d"])
    three = np.digitize(y, np.quantile(y, [0.33, 0.66]))
    mixed = x.mask(rng.random(x.shape) < 0.1).assign(kind=rng.choice(["north", "south", "east"], 240))
    columns = compose.make_column_transformer(
        (pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()), list("abcde")),
        (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["kind"]),
    )
    return [
        translated("forest", ensemble.RandomForestClassifier(20, random_state=0), x, three),
        translated(
            "pipeline", pipeline.make_pipeline(columns, linear_model.LogisticRegression(max_iter=5000)), mixed, three
        ),
        translated(ALONE, naive_bayes.GaussianNB(), x, three),
    ]


@pytest.fixture(scope="module")
def bundles() -> list[Bundle]:
    odd = [models.echo_bundle(), models.count_bundle(), models.image_bundle(), models.series_bundle()]
    plain = [models.linear_bundle(features=("a", "b", "c")), models.mixed_bundle(), models.lookup_bundle()]
    return [*odd, *plain, *estimators()]


@pytest.fixture(scope="module")
def crowds(bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Crowd]]:
    """A server of each kind, with one worker, and a crowd at its door."""
    with ExitStack() as stack:
        started = {name: start(bundles, tuning, tmp_path_factory.mktemp("run")) for name, tuning in SERVERS.items()}
        served = {name: stack.enter_context(server) for name, server in started.items()}
        yield {name: crowd_of(stack, server) for name, server in served.items()}
    for server in served.values():
        assert "Traceback" not in server.stderr


def start(bundles: Sequence[Bundle], tuning: Tuning, folder: Path) -> Served:
    plan = plan_of(folder, bundles, tunings={bundle.manifest.name: tuning for bundle in bundles})
    return Served(folder / "home", "--plan", str(plan))


def crowd_of(stack: ExitStack, served: Served) -> Crowd:
    crowd = Crowd(served, SIZE)
    stack.callback(crowd.close)
    return crowd


@pytest.fixture(scope="module")
def questions(bundles: list[Bundle]) -> list[Question]:
    """Good and bad ones to every model in every contract that fits."""
    chance, found = random.Random(3), []
    for bundle in bundles:
        name, signature = bundle.manifest.name, bundle.manifest.signature
        for contract in contracts(signature).values():
            for rows in (1, 1, 1, 1, 2, 3, 9):
                arrays = varied(signature, bundle.samples.rows, 16, seed=len(found))
                first = chance.randrange(16 - rows + 1)
                arrays = [array[first : first + rows] for array in arrays]
                arrays = shortened(signature, arrays, chance.choice([1, 2]))
                found.append(contract(name, signature, arrays, len(found)))
        if signature.features:
            found.append(friendly(name, signature, arrays, len(found), "?detail=full"))
    return found + wrong_ones(bundles, len(found))


def wrong_ones(bundles: Sequence[Bundle], number: int) -> list[Question]:
    """What does not fit, at every depth: no JSON, not a field, not this shape, too late, and refused by the graph."""
    lookup = next(bundle for bundle in bundles if bundle.manifest.name == "lookup")
    linear = next(bundle for bundle in bundles if bundle.manifest.name == "linear")
    there = lookup.manifest.signature
    bad: list[Array] = [np.array([[0, 99]]), np.array([[-7, 0]]), np.array([[0, 1], [2, 2], [0, 5]])]
    rows = [np.array([[1.0, 2.0, 3.0]])]
    found = [make("lookup", there, [array], number) for array in bad for make in (v2_json, v2_grpc, friendly)]
    found += [
        post("linear", "friendly", "/models/linear/predict", b"{", number),
        post("linear", "friendly", "/models/linear/predict", b'{"a": 1, "b": 2}', number),
        post("linear", "friendly", "/models/linear/predict", b'{"a": 1, "b": 2, "c": "three"}', number),
        post("mixed", "friendly", "/models/mixed/predict", b'{"species": "dodo", "length": 1, "mass": 1}', number),
        v2_json("linear", linear.manifest.signature, [np.ones((1, 2))], number),
        v2_grpc("linear", linear.manifest.signature, [np.array([[1.0, np.nan, 1.0]])], number),
        v2_json("linear", linear.manifest.signature, rows, number, timeout=1),
        v2_json("count", linear.manifest.signature, rows, number),
    ]
    return found


@pytest.fixture(scope="module")
def alone(crowds: dict[str, Crowd], questions: list[Question]) -> dict[Question, bytes]:
    """What each question is told when it is the only one, and nobody ever meets."""
    return {question: crowds[APART].alone(question) for question in questions}


def good(answer: bytes) -> bool:
    return answer.startswith((b"HTTP/1.1 200", b"\x0a"))


def test_the_questions_are_what_they_are_meant_to_be(questions: list[Question], alone: dict[Question, bytes]) -> None:
    found = {question: alone[question] for question in questions if question.message is None}
    refused = [question for question in questions if not good(alone[question])]
    assert len(refused) == 9 + 8, [str(question) for question in refused]
    statuses = {answer[9:12] for answer in found.values()}
    assert statuses == {b"200", b"400", b"503"}
    answers = {question.contract for question in questions if good(alone[question])}
    assert answers == {"friendly", "v2 JSON", "v2 binary", "v1", "gRPC"}
    assert len({bytes(answer) for answer in found.values()}) > len(found) / 2
    assert all(b"-0.0" not in answer for answer in found.values() if b"HTTP/1.1 503" in answer)


@pytest.mark.parametrize("server", [name for name in SERVERS if name != APART])
def test_alone_every_server_gives_the_same_bytes(
    crowds: dict[str, Crowd], questions: list[Question], alone: dict[Question, bytes], server: str
) -> None:
    for question in questions:
        assert crowds[server].alone(question) == alone[question], str(question)


@pytest.mark.parametrize("server", SERVERS)
def test_in_any_company_everybody_gets_what_they_get_alone(
    crowds: dict[str, Crowd], questions: list[Question], alone: dict[Question, bytes], server: str
) -> None:
    crowd, chance = crowds[server], random.Random(server)
    before, asked = crowd.counts(), 0
    for number in range(16):
        size = chance.choice([2, 5, SIZE, SIZE])
        pool = questions if number % 2 else [q for q in questions if q.model == chance.choice(questions).model]
        company = chance.choices(pool or questions, k=size)
        for question, answer in zip(company, crowd.at_once(company), strict=True):
            assert answer == alone[question], str(question)
        asked += sum(good(alone[question]) for question in company)
    counted = {name: tuple(np.subtract(now, before[name])) for name, now in crowd.counts().items()}
    requests, calls = (sum(counts[at] for counts in counted.values()) for at in (0, 2))
    assert requests == asked
    if server == APART:
        assert calls == requests
    else:
        assert calls < requests
    answered, _, executed = counted[ALONE]
    assert answered == executed


@pytest.mark.parametrize("model", ["linear", "mixed", "forest", "pipeline", "lookup"])
def test_who_asks_one_model_at_one_moment_shares_its_calls(
    crowds: dict[str, Crowd], questions: list[Question], alone: dict[Question, bytes], model: str
) -> None:
    """The kernel holds 64 requests for a stopped worker; the turn in which it goes on finds them all."""
    crowd = crowds["measured"]
    company = [q for q in questions if q.model == model and q.packet and good(alone[q])]
    company = (company * SIZE)[:SIZE]
    before = crowd.counts()[model]
    assert crowd.at_once(company) == [alone[question] for question in company]
    requests, _, calls = np.subtract(crowd.counts()[model], before)
    assert requests == SIZE
    assert calls <= SIZE / 4


@pytest.mark.parametrize("server", ["measured", "threads"])
@pytest.mark.parametrize("bad", [1, 7, SIZE])
def test_the_graphs_refusal_is_for_those_who_earned_it(
    crowds: dict[str, Crowd], questions: list[Question], alone: dict[Question, bytes], server: str, bad: int
) -> None:
    chance = random.Random(bad)
    fine = [q for q in questions if q.model == "lookup" and good(alone[q])]
    wrong = [q for q in questions if q.model == "lookup" and not good(alone[q])]
    company = chance.choices(fine, k=SIZE - bad) + chance.choices(wrong, k=bad)
    chance.shuffle(company)
    answers = crowds[server].at_once(company)
    assert answers == [alone[question] for question in company]
    assert sum(not good(answer) for answer in answers) == bad


@pytest.mark.parametrize("server", ["measured", "threads"])
def test_who_leaves_takes_nobody_along(
    crowds: dict[str, Crowd], questions: list[Question], alone: dict[Question, bytes], server: str
) -> None:
    crowd, chance = crowds[server], random.Random(9)
    for number in range(6):
        company = chance.choices(questions, k=SIZE)
        leaving = frozenset(chance.sample(range(SIZE), k=(1, 10, 32, 60, 63, 64)[number]))
        for at, (question, answer) in enumerate(zip(company, crowd.at_once(company, leaving), strict=True)):
            assert answer == (b"" if at in leaving else alone[question]), str(question)
    assert crowd.alone(questions[0]) == alone[questions[0]]


def test_what_was_found_out_at_load_is_told(crowds: dict[str, Crowd]) -> None:
    facts = {
        entry["name"]: entry["load"]
        for entry in json.loads(crowds["measured"].served.ask("GET", "/v2/models/stats")[2])["model_stats"]
    }
    assert facts[ALONE]["batch_rows"] == 1
    assert facts[ALONE]["batch_why"] in {
        "a row's answer depends on its company",
        "rows cost as much together as alone",
    }
    assert facts["linear"]["batch_rows"] > 1
    assert facts["linear"]["policy"] == "inline"
