"""What each call of `inference.GRPCInferenceService` does. All of it runs on the event loop, beside HTTP."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from modelyard.core.errors import InvalidRequest, ModelyardError, NotFound, Unsupported
from modelyard.core.identity import Permission, Principal, Verb
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.plan import Limits
from modelyard.guard.gate import Caller
from modelyard.serve import metadata
from modelyard.serve.grpc import schema
from modelyard.serve.grpc.call import Call, Method
from modelyard.serve.grpc.codec import Codec, plain
from modelyard.serve.grpc.messages import METHODS, message
from modelyard.serve.grpc.moulds import Moulds
from modelyard.serve.grpc.question import Question
from modelyard.serve.grpc.schema import reader
from modelyard.serve.grpc.status import sentence
from modelyard.serve.grpc.turns import Tell, Turns
from modelyard.serve.plane import Plane, Roster
from modelyard.serve.replica import Replica
from modelyard.serve.repository import check_load, check_unload
from modelyard.watch.counters import Counter, read_totals

log = logging.getLogger("modelyard")

_StreamResponse = message("ModelStreamInferResponse")
_EMPTY_FINAL, _FINAL = "triton_enable_empty_final_response", "triton_final_response"
_DIGITS = 18  # of a version's number

Needs = Callable[[Any], Permission]


def _about(verb: Verb, field: str = "name") -> Needs:
    """Permission for the model that this field of the request names; for all models where it names none."""
    return lambda request: Permission(verb, getattr(request, field))


def _about_all(request: Any) -> Permission:
    del request
    return Permission(Verb.READ)


#: What callers of each method have to be allowed; None where anybody may call it. Questions ask their model's codec.
_NEEDS: dict[str, Needs | None] = {
    "ServerLive": None,
    "ServerReady": None,
    "ServerMetadata": None,
    "ModelReady": _about(Verb.READ),
    "ModelMetadata": _about(Verb.READ),
    "ModelConfig": _about(Verb.READ),
    "ModelStatistics": _about(Verb.READ),
    "RepositoryIndex": _about_all,
    "RepositoryModelLoad": _about(Verb.DEPLOY, "model_name"),
    "RepositoryModelUnload": _about(Verb.DEPLOY, "model_name"),
    "SystemSharedMemoryStatus": _about_all,
    "SystemSharedMemoryRegister": _about_all,
    "SystemSharedMemoryUnregister": _about_all,
    "CudaSharedMemoryStatus": _about_all,
    "CudaSharedMemoryRegister": _about_all,
    "CudaSharedMemoryUnregister": _about_all,
    "TraceSetting": _about_all,
    "LogSettings": _about_all,
}

#: Told what a method answers, or why it does not.
Told = Callable[[Mapping[str, Any] | None, ModelyardError | None], None]


class Servicer:
    """The service's calls, by the names of `messages.METHODS`.

    Parameters
    ----------
    plane : Plane
        What is served now.
    run : Path
        Folder of the workers' counters.
    limits : Limits
        Of each request.
    unrouted : Counter
        Counts requests that reach no model.
    """

    def __init__(self, plane: Plane, run: Path, limits: Limits, unrouted: Counter) -> None:
        self.in_flight = 0
        self._plane = plane
        self._run = run
        self._limits = limits
        self._unrouted = unrouted
        self._request = reader(message("ModelInferRequest"))
        self._roster = Roster()
        self._codecs: dict[tuple[str, str], Codec] = {}
        self._moulds = Moulds()

    def methods(self) -> dict[str, Method]:
        """How every method is answered."""
        return {method.name: self._method(method) for method in METHODS}

    def _method(self, method: schema.Method) -> Method:
        if method.streaming:
            return Method(open=self._stream)
        if method.name == "ModelInfer":
            return Method(answer=self._infer)
        needs = _NEEDS[method.name]
        read, response = reader(message(method.request)), message(method.response)
        answer: Callable[..., Any] = getattr(self, _snake(method.name))
        later = len(inspect.signature(answer).parameters) > 1

        def call(asked: Call, raw: bytes) -> None:
            request = self._read(read(raw))
            if needs is not None:
                asked.caller.check(needs(request))
            if later:
                told = self._later(asked, response)
                try:
                    answer(request, told, asked.caller.principal)
                except ModelyardError as exc:  # what is refused at once is not under way any longer
                    told(None, exc)
            else:
                asked.reply(json_format.ParseDict(answer(request), response()).SerializeToString())

        return Method(answer=call, public=needs is None)

    def _later(self, call: Call, response: Any) -> Told:
        """What tells a call its answer when there is one."""
        self.in_flight += 1

        def told(answer: Mapping[str, Any] | None, error: ModelyardError | None) -> None:
            self.in_flight -= 1
            if error is not None:
                call.refuse(error)
            else:
                call.reply(json_format.ParseDict(answer, response()).SerializeToString())

        return told

    def _infer(self, call: Call, raw: bytes) -> None:
        """One question."""
        mould = self._known().find(raw)
        if mould is not None:
            codec = mould.codec
        else:
            request = self._read(self._request(raw))
            codec = self._codec(request, call.caller)
        call.caller.check(codec.needs)
        question = Question(self, call, codec, call.reply, call.refuse)
        if mould is not None:
            question.ask(mould.read, raw)
        else:
            asked = question.ask(codec.decode, request)
            if asked is not None:
                self._moulds.keep(raw, request, codec, asked.form)

    def _stream(self, call: Call) -> Turns:
        """Answer each question of a stream in its turn; an error is a message, and the stream goes on."""

        def ask(raw: bytes, tell: Tell) -> None:
            request: Any = None

            def failed(error: ModelyardError) -> None:
                call.witness(error)
                about = {"model_name": request.model_name, "id": request.id} if request is not None else {}
                tell(_StreamResponse(error_message=sentence(error), infer_response=about).SerializeToString())

            try:
                request = self._read(self._request(raw))
                request.parameters.pop(_EMPTY_FINAL, None)  # every question has one answer, which is its final one
                codec = self._codec(request, call.caller)
                call.caller.check(codec.needs)
            except ModelyardError as exc:
                failed(exc)
                return

            Question(self, call, _Streamed(codec), tell, failed).ask(codec.decode, request)

        return Turns(call, ask)

    def _read(self, request: Any) -> Any:
        if request is None:
            self._unrouted.invalid()
            raise InvalidRequest(what="the bytes are not the message that this method takes")
        return request

    def _known(self) -> Moulds:
        """What was learnt of questions to this roster; a new one begins anew."""
        if self._roster is not self._plane.roster:
            self._roster, self._codecs, self._moulds = self._plane.roster, {}, Moulds()
        return self._moulds

    def _codec(self, request: Any, caller: Caller) -> Codec:
        """The codec of the version that is asked; kept for as long as the roster is the same.

        What there is of a model, and whether there is one, is told to nobody who may not ask it.
        """
        self._known()
        named = (request.model_name, request.model_version)
        codec = self._codecs.get(named)
        if codec is None:
            caller.check(Permission(Verb.PREDICT, request.model_name))
            try:
                _, replica = self._version(*named)
            except ModelyardError:
                self._unrouted.invalid()
                raise
            codec = self._codecs[named] = Codec(replica)
        return codec

    def _version(self, name: str, version: str) -> tuple[Any, Replica]:
        model = self._plane.roster.model(name)
        if not version:
            return model, model.version()
        if not version.isdecimal():
            raise NotFound(what=f"version of {name!r}:", name=version[:80], known=map(str, sorted(model.versions)))
        return model, model.version(int(version[:_DIGITS]))

    def server_live(self, request: Any) -> dict[str, Any]:
        """Whoever answers is alive."""
        del request
        return {"live": True}

    def server_ready(self, request: Any) -> dict[str, Any]:
        """Whether new work is welcome."""
        del request
        return {"ready": self._plane.ready}

    def model_ready(self, request: Any) -> dict[str, Any]:
        """Whether this version is served; one that nobody knows is not."""
        try:
            self._version(request.name, request.version)
        except NotFound:
            return {"ready": False}
        return {"ready": self._plane.ready}

    def server_metadata(self, request: Any) -> dict[str, Any]:
        """Name, version, extensions."""
        del request
        return metadata.server()

    def model_metadata(self, request: Any) -> dict[str, Any]:
        """What a version takes and gives."""
        return metadata.model(*self._version(request.name, request.version))

    def model_config(self, request: Any) -> dict[str, Any]:
        """A version's configuration, in Triton's words."""
        model, replica = self._version(request.name, request.version)
        return {"config": metadata.config(model, replica, self._limits.body_bytes)}

    def model_statistics(self, request: Any) -> dict[str, Any]:
        """What a version, a model or everything has answered so far."""
        roster = self._plane.roster
        if request.version:
            replicas = [self._version(request.name, request.version)[1]]
        elif request.name:
            replicas = list(roster.model(request.name).versions.values())
        else:
            replicas = roster.replicas()
        told = metadata.statistics(replicas, read_totals(self._run))
        for entry in told["model_stats"]:
            entry.pop("load", None)  # ours, over HTTP; the message has no place for it
        return told

    def repository_index(self, request: Any) -> dict[str, Any]:
        """Every model and version that is served or could be loaded; repositories have no names here."""
        return {"models": metadata.index(self._plane.roster, ready=request.ready)}

    def repository_model_load(self, request: Any, told: Told, by: Principal) -> None:
        """Serve a model of the registry in every worker, when the server was started so."""
        check_load(plain(request.parameters))
        self._repository(partial(self._plane.repository.load, request.model_name, by=(by, "")), told)

    def repository_model_unload(self, request: Any, told: Told, by: Principal) -> None:
        """Serve a model no longer."""
        check_unload(plain(request.parameters))
        self._repository(partial(self._plane.repository.unload, request.model_name, by=(by, "")), told)

    def _repository(self, call: Callable[[], None], told: Told) -> None:
        """Call it in a thread; the answer comes when every worker has obeyed."""
        self._plane.repository.submit(call, lambda error: told({}, error))

    def system_shared_memory_status(self, request: Any) -> dict[str, Any]:
        """No region is ever registered: clients and server may not even be of one user."""
        if request.name:
            raise NotFound(what="shared memory region", name=request.name[:80])
        return {}

    cuda_shared_memory_status = system_shared_memory_status

    def system_shared_memory_register(self, request: Any) -> dict[str, Any]:
        """Refused: a server that maps what callers name can be made to read what they may not."""
        del request
        raise Unsupported(what="shared memory between processes: not supported", hint="send tensors in the message")

    cuda_shared_memory_register = system_shared_memory_register

    def system_shared_memory_unregister(self, request: Any) -> dict[str, Any]:
        """Nothing to do: clients clean up before they begin."""
        del request
        return {}

    cuda_shared_memory_unregister = system_shared_memory_unregister

    def trace_setting(self, request: Any) -> dict[str, Any]:
        """Refused: whoever may call does not decide what is written down."""
        del request
        raise Unsupported(what="tracing by requests: not supported")

    def log_settings(self, request: Any) -> dict[str, Any]:
        """Refused, for the same reason."""
        del request
        raise Unsupported(what="settings of the log by requests: not supported")


class _Streamed:
    """A version's answers as messages of a stream."""

    def __init__(self, codec: Codec) -> None:
        self.replica = codec.replica
        self._codec = codec

    def answer(self, asked: InferRequest, given: InferResponse) -> bytes:
        """The message with this answer."""
        answer = self._codec.encode(asked, given)
        answer.parameters[_FINAL].bool_param = True
        told: bytes = _StreamResponse(infer_response=answer).SerializeToString()
        return told


def _snake(name: str) -> str:
    """``ModelConfig`` as ``model_config``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
