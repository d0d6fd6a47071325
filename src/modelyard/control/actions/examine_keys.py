"""Doctor's look at keys: who can read the secrets, whether servers obey what the database says, what ends soon."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.control.actions import keys
from modelyard.control.actions.findings import Finding, State
from modelyard.control.actions.home import Home
from modelyard.core.errors import ModelyardError
from modelyard.core.settings import Settings
from modelyard.guard.keyring import GrantedKey, Keyring, KeyState
from modelyard.guard.peppers import peppers

_GROUP = "Keys"
_SOON = timedelta(days=14)
_SHARE = 4  # of a short life, a last quarter is soon


def examine_keys(settings: Settings, home: Home | None, now: datetime | None = None) -> Iterator[Finding]:
    """What there is to say of secrets and keys, now; `home` is None when its database cannot be used.

    Yields
    ------
    Finding
    """
    yield from _private(settings)
    if home is None:
        yield Finding(_GROUP, State.SKIP, "none to check")
        return
    try:
        ring = keys.read(home)
        known = peppers(settings.secrets).keys()
    except ModelyardError as exc:
        yield Finding(_GROUP, State.FAIL, exc.detail, exc.hint)
        return
    if not ring.keys:
        yield Finding(_GROUP, State.SKIP, "none yet: only this machine may call", "modelyard init")
        return
    yield _table(settings.keys, ring)
    for key in sorted(ring.keys.values(), key=lambda key: key.name):
        yield from _key(ring, key, known, now or datetime.now(UTC))


def _private(settings: Settings) -> Iterator[Finding]:
    """Secrets are for one user alone."""
    candidates = [settings.keys, settings.secrets, *settings.secrets.glob("*"), *settings.tls.glob("*key*")]
    kept = sorted(path for path in candidates if path.exists())
    shared = [path for path in kept if stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in shared:
        fix = f"chmod {700 if path.is_dir() else 600} {path}"
        yield Finding(_GROUP, State.FAIL, f"{path.name} can be read by other users of this machine", fix)
    if kept and not shared:
        yield Finding(_GROUP, State.OK, "the files of secrets and keys are for you alone")


def _table(path: Path, ring: Keyring) -> Finding:
    """What a killed command left behind is that the table says what the database no longer says."""
    table = ring.table()
    if path.exists() and path.read_bytes() == table.to_bytes():
        number = len(table.keys)
        text = f"{path.name} says what the database says: {number} {'key' if number == 1 else 'keys'}"
        return Finding(_GROUP, State.OK, text)
    text = f"{path.name} does not say what the database says: a command was interrupted, or somebody changed it"
    return Finding(_GROUP, State.FAIL, text, "modelyard key list")


def _key(ring: Keyring, key: GrantedKey, known: Set[int], now: datetime) -> Iterator[Finding]:
    """Troubles of one key; none when it is well."""
    rotate, power = f"modelyard key rotate {key.name}", ring.power(key.id)
    state = ring.state(key, now)
    lost = sorted({secret.pepper for secret in key.secrets} - known)
    if lost:
        names = ", ".join(f"pepper-{number}" for number in lost)
        text = f"{key.name} cannot be checked: {names} is not among the secrets"
        yield Finding(_GROUP, State.FAIL, text, f"{rotate}, or restore the file from a backup")
    if state is KeyState.ORPHANED:
        text = f"{key.name} opens nothing: the key that made it was revoked, or has ended"
        yield Finding(_GROUP, State.WARN, text, f"modelyard key revoke {key.name}")
    elif state is KeyState.ENDED:
        yield Finding(_GROUP, State.WARN, f"{key.name} has ended", f"{rotate}, or modelyard key revoke {key.name}")
    elif power is not None and state is KeyState.LIVE and power.expires_at - now < min(_SOON, key.life / _SHARE):
        hours = round((power.expires_at - now).total_seconds() / 3600)
        left = f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
        yield Finding(_GROUP, State.WARN, f"{key.name} ends in {left}", rotate)
