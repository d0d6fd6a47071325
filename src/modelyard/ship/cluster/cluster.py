"""The way to a Kubernetes cluster: with whatever a kubeconfig, or the pod that this runs in, has for it.

Every request that is sent here can be sent again without harm, so what is refused for a moment is asked again, and no
longer than a while. What the answers mean is told by `answers`, what is asked by `namespace`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from modelyard.core.errors import MissingExtra, TargetUnavailable

_AGENT = "modelyard"
_CONNECT_S, _READ_S = 5.0, 20.0
_PATIENCE_S = 30.0  # in all, for one question, however often it is asked
_PAUSE_S = 0.5
_LOGIN_S = 30.0  # for a program that a kubeconfig names to log in with
_LATER = frozenset({429, 500, 502, 503, 504})
_SHOWN = 300
#: What the client raises over a file that is no kubeconfig, beside its own error.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError)


class Cluster:
    """The API of one cluster.

    Parameters
    ----------
    target : str
        Name of the target that it is, for errors.
    kubeconfig, context : str
        File and context to use; empty for what ``kubectl`` would use, or for the pod that this runs in.

    Raises
    ------
    MissingExtra
        The official client is not installed.
    TargetUnavailable
        There is no such file or context, or it cannot log in.
    """

    def __init__(self, target: str, kubeconfig: str = "", context: str = "") -> None:
        self.target = target
        self._client = _within(_LOGIN_S, lambda: _client(target, kubeconfig, context), target)

    @property
    def address(self) -> str:
        """Of the API."""
        return str(self._client.configuration.host)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and text of the answer, asked for until there is a final one, or no more time.

        Parameters
        ----------
        method, path : str
            What to ask, query and all.
        body : dict, optional
            With a PATCH, an object to apply.

        Raises
        ------
        TargetUnavailable
            Nobody answers.
        """
        deadline_s = time.monotonic() + _PATIENCE_S
        pause_s = _PAUSE_S
        while True:
            status, wait_s, text = self._once(method, path, body)
            wait_s = max(pause_s, wait_s)
            if status not in _LATER or time.monotonic() + wait_s > deadline_s:
                return status, text
            time.sleep(wait_s)
            pause_s *= 2

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, float, str]:
        """Status, how long to wait before asking again, and text of one answer."""
        from kubernetes.client.rest import urllib3  # noqa: PLC0415 - it is there, or there would be no client

        headers = {"Accept": "application/json, */*", "User-Agent": _AGENT}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        raw = None if body is None else json.dumps(body).encode()
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=_READ_S)
        try:
            headers |= self._credentials()
            answer = self._client.rest_client.pool_manager.request(
                method, self.address + path, body=raw, headers=headers, retries=False, timeout=timeout
            )
        except (urllib3.exceptions.HTTPError, ValueError, OSError) as exc:
            cause = " ".join(str(exc).split())[:_SHOWN]
            hint = "see which cluster is meant: kubectl config get-contexts"
            what = f"{self.address} does not answer"
            raise TargetUnavailable(target=self.target, what=what, cause=cause, hint=hint) from exc
        after = answer.headers.get("Retry-After", "")
        return answer.status, float(after) if after.isdigit() else 0.0, answer.data.decode("utf-8", "replace")

    def _credentials(self) -> dict[str, str]:
        """As headers; renewed by the client, where the kubeconfig says how. None go where everybody could read them."""
        if not self.address.startswith("https://"):
            return {}
        settings = _within(_LOGIN_S, self._client.configuration.auth_settings, self.target)
        return {each["key"]: each["value"] for each in settings.values() if each["in"] == "header" and each["value"]}


def _client(target: str, kubeconfig: str, context: str) -> Any:
    try:
        from kubernetes import client, config  # noqa: PLC0415 - heavy, and an extra
    except ImportError as exc:
        raise MissingExtra(what="a Kubernetes target", library="kubernetes", extra="ship") from exc
    broken = config.kube_config.yaml.YAMLError
    try:
        return config.new_client_from_config(config_file=kubeconfig or None, context=context or None)
    except config.ConfigException as exc:
        if not (kubeconfig or context):
            settings = client.Configuration()
            try:
                config.load_incluster_config(client_configuration=settings)
            except config.ConfigException:
                pass  # then it is the kubeconfig that is missing
            else:
                return client.ApiClient(settings)
        raise _unusable(target, exc) from exc
    except (*_BROKEN, broken) as exc:
        raise _unusable(target, exc) from exc


def _unusable(target: str, exc: Exception) -> TargetUnavailable:
    cause = " ".join(str(exc).split())[:_SHOWN] or type(exc).__name__
    hint = "see which contexts there are: kubectl config get-contexts"
    return TargetUnavailable(target=target, what="the kubeconfig cannot be used", cause=cause, hint=hint)


def _within(limit_s: float, work: Callable[[], Any], target: str) -> Any:
    """What `work` returns; a program that logs in by asking somebody for something has a while for it."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as exc:  # noqa: BLE001 - raised again, below
            failed.append(exc)

    thread = threading.Thread(target=run, name="kubeconfig", daemon=True)
    thread.start()
    thread.join(limit_s)
    if failed:
        raise failed[0]
    if not found:
        what = f"logging in took longer than {limit_s:g} s"
        hint = "log in first, in the way that your kubeconfig says: kubectl get pods"
        raise TargetUnavailable(target=target, what=what, hint=hint)
    return found[0]
