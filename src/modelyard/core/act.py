"""What somebody did: the words of one record of the audit log, whoever writes it."""

from __future__ import annotations

import msgspec

from modelyard.core.identity import Principal


class Act(msgspec.Struct, frozen=True):
    """One thing that was done, or refused.

    Parameters
    ----------
    actor : Principal
        Who did it.
    action : str
        Noun and verb: ``model.publish``, ``key.revoke``.
    object : str
        What it was done to: ``churn@3``, ``key:ab12cd34ef``.
    outcome : str
        ``done``, ``denied`` or ``failed``.
    detail : dict of str to str
        What else is worth keeping: digests before and after, a reason, a request's id. Never a secret or a payload.
    source : str
        From where: an address, or ``cli``.
    """

    actor: Principal
    action: str
    object: str
    outcome: str = "done"
    detail: dict[str, str] = {}
    source: str = "cli"
