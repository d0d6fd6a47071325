"""scikit-learn: pickles (.pkl, .joblib) and .skops, opened in the sandboxed child; or our own fitted estimators."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from typing import Any

import joblib
import pandas as pd
import sklearn
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from modelyard.core.errors import InvalidModel, ModelyardError
from modelyard.model.formats import Converted, Request
from modelyard.model.translate.verify import verified


def convert(request: Request) -> Converted:
    """The estimator in the file; runs in the sandboxed child, because opening the file may run code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = _opened(request)
    if not (hasattr(estimator, "predict") or hasattr(estimator, "transform")):
        raise InvalidModel(
            what=f"it holds {_article(estimator)}, not a fitted scikit-learn estimator",
            cause="save the estimator itself, for example joblib.dump(pipeline, 'model.joblib')",
        )
    _check_fitted(estimator)
    converted = from_estimator(estimator, request.frame, origin="generated" if request.frame is None else "sample")
    saved = next((version for item in caught if (version := _saved_with(item))), None)
    if saved is None or saved == sklearn.__version__:
        return converted
    note = f"saved with scikit-learn {saved}, opened with {sklearn.__version__}: compared with the latter's answers"
    libraries = {**converted.libraries, "scikit-learn (saved with)": saved}
    return replace(converted, libraries=libraries, notes=(*converted.notes, note))


def _saved_with(item: warnings.WarningMessage) -> str | None:
    return getattr(item.message, "original_sklearn_version", None)


def _article(thing: Any) -> str:
    if isinstance(thing, dict):
        return f"a dict with {', '.join(map(repr, list(map(str, thing))[:5])) or 'nothing'}"
    name = type(thing).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _check_fitted(estimator: Any) -> None:
    try:
        check_is_fitted(estimator)
    except NotFittedError as exc:
        raise InvalidModel(what=f"the {type(estimator).__name__} in it was never fitted", cause="") from exc
    except TypeError:
        return  # not one of scikit-learn's; asking it will tell


def _opened(request: Request) -> Any:
    """The object in the file. The only place where a pickle is opened, and only in the child."""
    try:
        if request.kind == "sklearn-skops":
            import skops.io  # noqa: PLC0415 - it imports all of scikit-learn, which the others need not wait for

            return skops.io.loads(request.raw, trusted=skops.io.get_untrusted_types(data=request.raw))
        return joblib.load(io.BytesIO(request.raw))
    except ModuleNotFoundError as exc:
        what = f"it needs the Python module {exc.name!r}, which is not installed here"
        raise InvalidModel(what=what, cause="pickles hold names of classes, not the classes") from exc
    except AttributeError as exc:
        raise InvalidModel(what=f"it needs code that is not here ({_first_line(exc)})") from exc
    except (MemoryError, ModelyardError):
        raise
    except Exception as exc:  # a damaged or hostile pickle raises anything at all
        raise InvalidModel(what=f"it cannot be opened ({type(exc).__name__}: {_first_line(exc)})") from exc


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0][:200] if text else "no further words"


def from_estimator(estimator: Any, frame: pd.DataFrame | None, *, origin: str) -> Converted:
    """See `convert.from_estimator`; without a frame, rows are made from what the model knows."""
    return verified(estimator, frame, origin=origin)
