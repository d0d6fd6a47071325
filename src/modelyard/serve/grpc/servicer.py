"""What each call of `inference.GRPCInferenceService` does. All of it runs on the event loop, beside HTTP."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import grpc
from google.protobuf import json_format

from modelyard.core.errors import Internal, InvalidRequest, ModelyardError, NotFound, Timeout, Unsupported
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.plan import Limits
from modelyard.serve import metadata
from modelyard.serve.grpc.codec import Codec, plain
from modelyard.serve.grpc.messages import METHODS, Method, message, reader
from modelyard.serve.grpc.status import CODE, REQUEST_ID, STATUS, sentence
from modelyard.serve.plane import Plane
from modelyard.serve.replica import Replica
from modelyard.serve.repository import check_load, check_unload
from modelyard.watch.counters import Counter, read_totals

log = logging.getLogger("modelyard")

_StreamResponse = message("ModelStreamInferResponse")
_EMPTY_FINAL, _FINAL = "triton_enable_empty_final_response", "triton_final_response"
_DIGITS = 18  # of a version's number
_TOKEN = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Answers one request; what is raised becomes the call's status.
Answer = Callable[[Any, Any], Awaitable[Any]]


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
        self._codecs: WeakKeyDictionary[Replica, Codec] = WeakKeyDictionary()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """A handler for every method, for `grpc.method_handlers_generic_handler`."""
        return {method.name: self._handler(method) for method in METHODS}

    def _handler(self, method: Method) -> grpc.RpcMethodHandler:
        read = reader(message(method.request))
        write = message(method.response).SerializeToString
        if method.streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream, read, write)
        if method.name == "ModelInfer":
            return grpc.unary_unary_rpc_method_handler(self._whole(self._infer), read, write)
        answer: Callable[[Any], Any] = getattr(self, _snake(method.name))
        response = message(method.response)

        async def call(request: Any, context: Any) -> Any:
            del context
            told = answer(request)
            return json_format.ParseDict(await told if asyncio.iscoroutine(told) else told, response())

        return grpc.unary_unary_rpc_method_handler(self._whole(call), read, write)

    def _whole(self, answer: Answer) -> Answer:
        """A unary call: its error becomes the status, the code and the request's id its trailing metadata."""

        async def call(request: Any, context: Any) -> Any:
            self.in_flight += 1
            try:
                return await answer(self._read(request), context)
            except ModelyardError as exc:
                error = exc
            except Exception as exc:  # the process border: a bug's text is for the log, not for the caller
                log.exception("a gRPC call failed")
                error = Internal(cause=type(exc).__name__)
            finally:
                self.in_flight -= 1
            trailing = ((CODE, error.code), (REQUEST_ID, _request_id(context)))
            return await context.abort(STATUS[error.kind], sentence(error), trailing)

        return call

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answer each request of a stream in its turn; an error is a message, and the stream goes on."""
        async for request in requests:
            self.in_flight += 1
            try:
                asked = self._read(request)
                asked.parameters.pop(_EMPTY_FINAL, None)  # every request has one answer, which is its final one
                answer = await self._infer(asked, context)
                answer.parameters[_FINAL].bool_param = True
                yield _StreamResponse(infer_response=answer)
            except ModelyardError as exc:
                yield _failed(request, exc)
            except Exception as exc:  # the process border, as above
                log.exception("a gRPC stream's request failed")
                yield _failed(request, Internal(cause=type(exc).__name__))
            finally:
                self.in_flight -= 1

    def _read(self, request: Any) -> Any:
        if request is None:
            self._unrouted.invalid()
            raise InvalidRequest(what="the bytes are not the message that this method takes")
        return request

    async def _infer(self, request: Any, context: Any) -> Any:
        started = perf_counter()
        try:
            _, replica = self._version(request.model_name, request.model_version)
        except ModelyardError:
            self._unrouted.invalid()
            raise
        codec = self._codecs.get(replica)
        if codec is None:
            codec = self._codecs[replica] = Codec(replica)
        try:
            asked = codec.decode(request, context.time_remaining())
            given = await _ask(replica, asked)
            answer = codec.encode(asked, given)
        except ModelyardError as exc:
            exc.facts.setdefault("model", replica.label)
            replica.count_error(exc, started)
            raise
        except asyncio.CancelledError:  # the caller left, or its deadline has passed
            replica.count_error(Timeout(what=replica.label, limit_s=0), started)
            raise
        replica.count(asked, given, started)
        return answer

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

    async def repository_model_load(self, request: Any) -> dict[str, Any]:
        """Serve a model of the registry in every worker, when the server was started so."""
        check_load(plain(request.parameters))
        return await self._repository(self._plane.repository.load, request.model_name)

    async def repository_model_unload(self, request: Any) -> dict[str, Any]:
        """Serve a model no longer."""
        check_unload(plain(request.parameters))
        return await self._repository(self._plane.repository.unload, request.model_name)

    async def _repository(self, call: Callable[[str], None], name: str) -> dict[str, Any]:
        """Call it in a thread; the answer comes when every worker has obeyed."""
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def reply(error: ModelyardError | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result({})
            else:
                done.set_exception(error)

        self._plane.repository.submit(partial(call, name), reply)
        return await done

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


async def _ask(replica: Replica, asked: InferRequest) -> InferResponse:
    """The replica's answer; a caller who leaves takes along what has not begun."""
    answer: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()

    def reply(given: InferResponse | None, error: ModelyardError | None) -> None:
        if answer.cancelled():
            return
        if given is None:
            assert error is not None
            answer.set_exception(error)
        else:
            answer.set_result(given)

    waiting = replica.submit(asked, reply)
    try:
        return await answer
    except asyncio.CancelledError:
        if waiting is not None:
            waiting.cancel()
        raise


def _failed(request: Any, error: ModelyardError) -> Any:
    """An error as a message of a stream, under the id of its request."""
    about = {"model_name": request.model_name, "id": request.id} if request is not None else {}
    return _StreamResponse(error_message=sentence(error), infer_response=about)


def _request_id(context: Any) -> str:
    """The caller's ``x-request-id`` when it is a plain token, else one made here."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _TOKEN.fullmatch(value):
            return value
    return secrets.token_hex(8)


def _snake(name: str) -> str:
    """``ModelConfig`` as ``model_config``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
