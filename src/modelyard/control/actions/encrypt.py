"""Encrypt: what is stored at rest, turned on and off while the home is used, and master keys rotated.

Each act can be interrupted anywhere, by whatever, and is finished by the same command: a blob lies there in one way or
the other, and can be read in both.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from modelyard.control.actions import plans
from modelyard.control.actions.home import Home, bytes_at_rest
from modelyard.core.errors import Conflict, StoreDamaged, Unavailable
from modelyard.guard import encrypt
from modelyard.guard.encrypt import Encryption, Kept
from modelyard.guard.masterkeys import Keys
from modelyard.guard.privacy import CaptureKey
from modelyard.store import volatile
from modelyard.store.sealed import SealedBlobs

OnStep = Callable[[float, float], None]


@dataclass(frozen=True)
class State:
    """How a home is encrypted.

    Parameters
    ----------
    encryption : Encryption
        As configured.
    encrypted, plain : int
        Blobs that are, and are not.
    masters : dict of str to int
        Names of the master keys at hand, the one that wraps first, and those that some envelope names; with the number
        of blobs that need each.
    missing : tuple of str
        Names of those that are needed and not at hand.
    trouble : str
        Why no master key is at hand; empty when one is.
    swap : bool
        Whether the machine may write memory to a disk.
    """

    encryption: Encryption
    encrypted: int
    plain: int
    masters: dict[str, int]
    missing: tuple[str, ...] = ()
    trouble: str = ""
    swap: bool = False


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: the master key that wraps now, blobs that were put under it, older keys that went."""

    current: str
    blobs: int
    forgotten: tuple[str, ...] = ()


def turn_on(
    home: Home, kept: Kept | None = None, command: Sequence[str] = (), on_step: OnStep = lambda done, total: None
) -> int:
    """Encrypt what is there and what will come; how many blobs were encrypted now.

    Parameters
    ----------
    home : Home
        Which.
    kept : Kept, optional
        Where the master key is; made there when there is none, but not in the environment. None: as before.
    command : sequence of str
        For `Kept.COMMAND`, see `guard.keysources.CommandSource`.
    on_step : callable
        Told blobs done of blobs in all.

    Raises
    ------
    Conflict
        It is on already, with master keys kept elsewhere.
    Unavailable
        There is no master key, or no folder in memory; nothing was changed.
    StoreDamaged
        Some blobs were damaged before, and were left as they are; everything else is encrypted.
    """
    before = encrypt.read(home.settings.encryption)
    wanted = (
        Encryption(on=True, kept=kept, command=tuple(command)) if kept else msgspec.structs.replace(before, on=True)
    )
    blobs = bytes_at_rest(home.settings)
    if before != wanted:
        used = _is_used(blobs)
        if used and (before.kept, before.command) != (wanted.kept, wanted.command):
            raise Conflict(
                what=f"master keys that are needed here are kept elsewhere: {before.kept}",
                hint="turn it off first: modelyard encrypt off",
            )
        keys = _keys(home, wanted)
        if not used:  # a key that is needed and went missing is not made anew
            keys.prepare()
        detail = {"keys": str(wanted.kept), "master": keys.current}
        volatile.folder_for(home.settings.home, home.settings.memory)
        _switch(home, wanted, "encryption.on", detail)
    done = _convert(home, blobs, on_step)
    CaptureKey(home.settings.secrets).keep(_keys(home, wanted), wrapped=True)
    with home.artifacts.alone():  # so that what is unfinished will never be finished: its writer died
        blobs.places.plain.sweep(0)
    plans.announce(home, "what is stored is encrypted")
    plans.tidy(home)
    return done


def turn_off(home: Home, on_step: OnStep = lambda done, total: None) -> int:
    """Store everything as it is again; how many blobs were decrypted. Master keys are kept, for old backups.

    Raises
    ------
    Unavailable
        A master key that is needed is not at hand; what it encrypted stays encrypted.
    StoreDamaged
        Some blobs were damaged before, and were left as they are; everything else is decrypted.
    """
    before = encrypt.read(home.settings.encryption)
    blobs = bytes_at_rest(home.settings)
    if before.on:
        detail = {"keys": str(before.kept)}
        if _is_used(blobs):
            detail["master"] = _keys(home, before).current  # `Unavailable` before anything was changed
        _switch(home, msgspec.structs.replace(before, on=False), "encryption.off", detail)
    CaptureKey(home.settings.secrets).keep(_keys(home, before), wrapped=False)
    done = _convert(home, blobs, on_step)
    plans.announce(home, "what is stored is decrypted")
    with suppress(Unavailable), home.artifacts.alone():  # without memory there is nothing in it
        if not encrypt.read(home.settings.encryption).on:  # by somebody else, meanwhile: it is needed again
            shutil.rmtree(volatile.folder_for(home.settings.home, home.settings.memory))
    return done


def rotate(home: Home, *, forget: bool = False, on_step: OnStep = lambda done, total: None) -> Rotated:
    """A new master key wraps all data keys; no blob is written again, and everything can be read meanwhile.

    When an earlier rotation did not come to its end, or the environment names a new key first, this finishes that
    and makes no other key.

    Parameters
    ----------
    home : Home
        Which; others may use it meanwhile.
    forget : bool
        Also forget the keys before it: backups made until now can then not be read any more.
    on_step : callable
        Told blobs done of blobs in all.

    Raises
    ------
    Unavailable
        A master key that is needed is not at hand.
    Conflict
        Master keys are kept where this cannot make one.
    """
    blobs, keys = _with_keys(home)
    envelopes = blobs.places.envelopes
    with envelopes.locked():
        ring = keys.ring
        if not _stale(blobs, ring.current):
            new = ring.with_new()
            if keys.writable:
                _record(home, "encryption.rotate", {"before": ring.current, "master": new.current})
            keys.keep(new)
    done = 0
    while stale := _stale(blobs, keys.current):  # again, for what others put under the old key until they saw the new
        for at, digest in enumerate(stale):
            done += blobs.rewrap(digest)
            on_step(at + 1, len(stale))
    CaptureKey(home.settings.secrets).keep(keys, wrapped=encrypt.read(home.settings.encryption).on)
    forgotten = _forget(home, blobs, keys) if forget else ()
    return Rotated(keys.current, done, forgotten)


def look(home: Home) -> State:
    """How the home is encrypted now; asks for master keys only when something is or will be encrypted."""
    encryption = encrypt.read(home.settings.encryption)
    blobs = bytes_at_rest(home.settings)
    needed = Counter(envelope.master for _, envelope, _ in blobs.places.envelopes.list())
    plain = sum(1 for _ in blobs.places.plain.list())
    state = State(encryption, needed.total(), plain, dict(needed), swap=volatile.can_be_swapped())
    if not encryption.on and not needed:
        return state
    try:
        names = list(_keys(home, encryption).ring.keys)
    except Unavailable as exc:
        return replace(state, missing=tuple(sorted(needed)), trouble=exc.detail)
    masters = {name: needed[name] for name in [*names, *sorted(needed.keys() - set(names))]}
    return replace(state, masters=masters, missing=tuple(sorted(needed.keys() - set(names))))


def _switch(home: Home, wanted: Encryption, action: str, detail: dict[str, str]) -> None:
    """Say what is wanted, when nobody is in the middle of storing or laying out; recorded first, or it is not done."""
    _record(home, action, detail)
    with home.artifacts.alone():
        encrypt.save(home.settings.encryption, wanted)


def _record(home: Home, action: str, detail: dict[str, str]) -> None:
    """In a transaction of its own: the change is to a file, which must not be there without its record."""
    with home.change(action, "home") as (_, record):
        record("home", detail)


def _convert(home: Home, blobs: SealedBlobs, on_step: OnStep) -> int:
    """Keep every blob as it is wanted now; damaged ones stay as they are and are an error when all others are done.

    Meanwhile nobody says otherwise, or takes what is being written for something that a dead writer left.
    """
    wrong = blobs.strangers()
    damaged: list[str] = []
    for at, digest in enumerate(wrong):
        try:
            with home.artifacts.held():
                blobs.convert(digest)
        except StoreDamaged:
            damaged.append(digest[:12])
        on_step(at + 1, len(wrong))
    if damaged:
        raise StoreDamaged(
            what=f"{len(damaged)} blob(s) were left as they are: {', '.join(damaged[:8])}",
            hint="see which models they are of: modelyard doctor; remove or restore them, and run this again",
        )
    return len(wrong)


def _with_keys(home: Home) -> tuple[SealedBlobs, Keys]:
    encryption = encrypt.read(home.settings.encryption)
    blobs = bytes_at_rest(home.settings)
    if not encryption.on and not _is_used(blobs):
        raise Conflict(what="nothing is encrypted here", hint="modelyard encrypt on")
    return blobs, _keys(home, encryption)


def _keys(home: Home, encryption: Encryption) -> Keys:
    return Keys(lambda: encrypt.source(home.settings, encryption))


def _is_used(blobs: SealedBlobs) -> bool:
    """Whether anything is encrypted now."""
    return next(blobs.places.envelopes.list(), None) is not None


def _stale(blobs: SealedBlobs, current: str) -> list[str]:
    """Blobs whose data key is wrapped by another master key than the current one."""
    return [digest for digest, envelope, _ in blobs.places.envelopes.list() if envelope.master != current]


def _forget(home: Home, blobs: SealedBlobs, keys: Keys) -> tuple[str, ...]:
    """Keep the newest key alone, when nothing needs another; who writes an envelope now waits, and looks again."""
    with blobs.places.envelopes.locked():
        ring = keys.ring
        old = tuple(ring.keys)[1:]
        if not old or _stale(blobs, ring.current):
            return ()
        _record(home, "encryption.forget", {"master": ring.current, "forgotten": ",".join(old)})
        keys.keep(ring.newest())
    return old
