"""Scraping: the one key with which whoever monitors our deployments may read their metrics, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from modelyard.control.actions import keys
from modelyard.control.actions.home import Home
from modelyard.core.errors import NotFound, Unavailable
from modelyard.core.identity import Scope, Verb
from modelyard.guard.grant import LONGEST_LIFE, LONGEST_OVERLAP, Grant
from modelyard.guard.keyring import GrantedKey, KeyState
from modelyard.store import files

NAME = "modelyard-metrics"
#: Where its text is kept, for this user alone; no other key's is.
FILE = "metrics.key"
#: This long before it ends, the next deploy gives it a new secret. What has the older one keeps working as long.
EARLY = LONGEST_OVERLAP


def metrics_key(home: Home) -> bytes:
    """The key's text, made or given a new secret when it is due.

    Raises
    ------
    Forbidden
        It has to be made, and the actor may not make keys.
    """
    return kept_key(home) or _renewed(home)


def kept_key(home: Home) -> bytes | None:
    """The key's text as it is kept; None when there is none that is good for some time."""
    path, key = home.settings.secrets / FILE, _living(home)
    if key is None or not path.is_file():
        return None
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise Unavailable(what=f"cannot read {FILE}", cause=exc.strerror, hint=files.HOME_HINT) from exc
    good = key.grant.expires_at - datetime.now(UTC) > EARLY and f"_{key.id}_".encode() in text
    return text if good else None


def _renewed(home: Home) -> bytes:
    key = _living(home)
    if key is None:
        scopes = frozenset({Scope(Verb.METRICS)})
        minted = keys.create(home, Grant(name=NAME, scopes=scopes, life=LONGEST_LIFE - timedelta(minutes=1)))
    else:
        if any(secret.expires_at is not None for secret in key.secrets):  # it is being rotated, and the file was lost
            keys.finish(home, key.id)
        minted = keys.rotate(home, key.id, EARLY)
    raw = minted.text.encode()
    files.replace(files.make_folder(home.settings.secrets) / FILE, raw)
    return raw


def _living(home: Home) -> GrantedKey | None:
    ring = keys.read(home)
    try:
        key = ring.find(NAME)
    except NotFound:
        return None
    return key if ring.state(key, datetime.now(UTC)) in {KeyState.LIVE, KeyState.ENDED} else None
