"""Frames that move no data: windows, settings, pings, resets. Each is checked as RFC 9113 asks, and obeyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from modelyard.serve.grpc import frames
from modelyard.serve.grpc.call import Call
from modelyard.serve.grpc.frames import ACK, STREAM_BITS, Reason, Setting, Violation
from modelyard.serve.grpc.outflow import Outflow

_NUMBER_BYTES, _PRIORITY_BYTES, _SETTING_BYTES, _PING_BYTES = 4, 5, 6, 8


class Line(Protocol):
    """A connection, as far as these frames go."""

    calls: dict[int, Call]
    out: Outflow
    last: int  # the client's newest stream

    def bother(self, cost: int) -> None:
        """Take from the client's patience."""
        ...

    def reset(self, call: Call, reason: Reason) -> None:
        """End a stream that cannot go on."""
        ...

    def refuse_more(self) -> None:
        """The client has heard that it should go."""
        ...


def take(connection: Line, kind: int, stream: int, flags: int, payload: bytes) -> None:
    """Obey one such frame; a type that nobody knows is passed over."""
    obey = _KINDS.get(kind)
    if obey is not None:
        obey(connection, stream, flags, payload)


def _window_update(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    del flags
    increment = _number(payload) & STREAM_BITS
    call = connection.calls.get(stream)
    if not stream:
        if not increment:
            raise Violation(Reason.PROTOCOL_ERROR, "a window grows by nothing")
        connection.out.widen(increment)
    elif call is None:
        _must_have_been(connection, stream)
    elif not increment:
        connection.reset(call, Reason.PROTOCOL_ERROR)
    else:
        call.window += increment
        if call.window > frames.MAX_WINDOW:
            connection.reset(call, Reason.FLOW_CONTROL_ERROR)
        elif call.stalled_s:
            connection.out.pump()


def _rst_stream(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    del flags
    _number(payload)
    call = connection.calls.get(stream)
    if call is None:
        _must_have_been(connection, stream)
    else:
        connection.bother(frames.RESET_COSTS)
        call.vanish()


def _settings(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    if stream:
        raise Violation(Reason.PROTOCOL_ERROR, "SETTINGS of a stream")
    if len(payload) % _SETTING_BYTES or (flags & ACK and payload):
        raise Violation(Reason.FRAME_SIZE_ERROR, "broken SETTINGS")
    if flags & ACK:
        return
    out = connection.out
    for name, value in frames.unpack_setting(payload):
        if name == Setting.ENABLE_PUSH and value > 1:
            raise Violation(Reason.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if name == Setting.INITIAL_WINDOW_SIZE:
            _resize(connection, value)
        elif name == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME <= value <= frames.MAX_FRAME:
                raise Violation(Reason.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            out.frame_bytes = value
    out.write(frames.frame(frames.SETTINGS, ACK, 0))
    out.pump()


def _resize(connection: Line, window: int) -> None:
    """Every stream's window changes by as much as that of the next stream."""
    change = window - connection.out.stream_window
    connection.out.stream_window = window
    for call in connection.calls.values():
        call.window += change
    if max([window, *(call.window for call in connection.calls.values())]) > frames.MAX_WINDOW:
        raise Violation(Reason.FLOW_CONTROL_ERROR, "a window is too large")


def _ping(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    if stream or len(payload) != _PING_BYTES:
        raise Violation(Reason.PROTOCOL_ERROR if stream else Reason.FRAME_SIZE_ERROR, "a broken PING")
    if flags & ACK:
        connection.refuse_more()
    else:
        connection.out.write(frames.frame(frames.PING, ACK, 0, payload))


def _priority(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    """Nobody is served before anybody."""
    del connection, flags
    if not stream:
        raise Violation(Reason.PROTOCOL_ERROR, "PRIORITY of no stream")
    if len(payload) != _PRIORITY_BYTES:
        raise Violation(Reason.FRAME_SIZE_ERROR, "a broken PRIORITY")


def _goaway(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    """The client will ask nothing more; what it asked is answered."""
    del connection, flags, payload
    if stream:
        raise Violation(Reason.PROTOCOL_ERROR, "GOAWAY of a stream")


def _push_promise(connection: Line, stream: int, flags: int, payload: bytes) -> None:
    del connection, stream, flags, payload
    raise Violation(Reason.PROTOCOL_ERROR, "clients promise nothing")


def _must_have_been(connection: Line, stream: int) -> None:
    if stream > connection.last or not stream & 1:
        raise Violation(Reason.PROTOCOL_ERROR, f"stream {stream} is not open")


def _number(payload: bytes) -> int:
    if len(payload) != _NUMBER_BYTES:
        raise Violation(Reason.FRAME_SIZE_ERROR, "a frame that holds a number is four bytes")
    number: int = frames.unpack_number(payload)[0]
    return number


_KINDS: dict[int, Callable[[Line, int, int, bytes], None]] = {
    frames.PRIORITY: _priority,
    frames.RST_STREAM: _rst_stream,
    frames.SETTINGS: _settings,
    frames.PUSH_PROMISE: _push_promise,
    frames.PING: _ping,
    frames.GOAWAY: _goaway,
    frames.WINDOW_UPDATE: _window_update,
}
