"""``modelyard verify MODEL|FOLDER``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.root import with_screen
from modelyard.cli.screen import Screen
from modelyard.core.reference import parse_reference
from modelyard.core.settings import Settings
from modelyard.core.trust import SHORT

if TYPE_CHECKING:
    from modelyard.control.actions.sign import Verified


@click.command("verify")
@click.argument("model", metavar="MODEL|FOLDER")
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Public key in PEM that counts instead of the trusted ones; may be given more than once.",
)
@click.option(
    "--openssf",
    "signature",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of a signature in the OpenSSF's format, of a FOLDER; with one elliptic --key.",
)
@with_screen
def command(screen: Screen, settings: Settings, model: str, keys: tuple[Path, ...], signature: Path | None) -> None:
    """Verify every byte of a version, or of an exported folder, and who signed it.

    \b
    modelyard verify churn@3
    modelyard verify ./churn-3 --key release.pub
    modelyard verify ./churn-3 --openssf churn-3.sig --key ec.pub

    It fails unless a key that is trusted for the model (or one of --key) has signed exactly these files.
    """  # noqa: D301 - click's own mark, which a raw string would print
    if signature is not None:
        return _openssf(screen, Path(model), signature, keys)
    verified = _verified(settings, model, keys)
    return screen.show(_document(verified), _text(verified))


def _openssf(screen: Screen, folder: Path, signature: Path, keys: Sequence[Path]) -> None:
    if not folder.is_dir():
        raise click.UsageError("--openssf verifies an exported folder: modelyard model export MODEL FOLDER")
    if len(keys) != 1:
        raise click.UsageError("--openssf needs one elliptic key that should have signed: --key ec.pub")
    from modelyard.control.actions import openssf  # noqa: PLC0415 - imported when called

    verified = openssf.verify(folder, signature, keys[0])
    rows = (
        ("Verified", f"{verified.what}: every file as it was signed, and nothing else"),
        ("Key", verified.key_id),
        ("Bundle", f"sha256 {verified.digest}"),
    )
    document = {"verified": verified.what, "digest": verified.digest, "key": verified.key_id, "format": "openssf"}
    screen.show(document, "\n".join(f"{label:<10}{text}" for label, text in rows))


def _verified(settings: Settings, model: str, keys: Sequence[Path]) -> Verified:
    from modelyard.control.actions import sign, trust  # noqa: PLC0415 - imported when called
    from modelyard.control.actions.home import open_home  # noqa: PLC0415 - as above

    folder = Path(model)
    if not folder.is_dir():
        return sign.verify(open_home(settings), parse_reference(model), keys)
    return sign.verify_folder(folder, sign.trust_in(keys) if keys else trust.read(open_home(settings)))


def _document(verified: Verified) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - as above

    statement = verified.signed.statement
    return {
        "verified": verified.what,
        "digest": verified.digest,
        "key": verified.signed.key_id,
        "signed_by": statement.predicate.signed_by,
        "signed_at": statement.predicate.signed_at.isoformat(),
        "statement": msgspec.to_builtins(statement),
    }


def _text(verified: Verified) -> str:
    claim, files = verified.signed.provenance, verified.manifest.files
    source = claim.source
    origin = " ".join(filter(None, (source.format, source.file, source.sha256 and f"(sha256 {source.sha256[:SHORT]})")))
    rows = [
        ("Verified", f"{verified.what}, signed as {claim.model}@{claim.version}"),
        ("Signed", f"{claim.signed_at:%Y-%m-%d %H:%M:%S} UTC by {claim.signed_by}"),
        ("Key", verified.signed.key_id),
        ("Bundle", f"sha256 {verified.digest}"),
        ("Files", f"{len(files)} of {len(files)} as they were signed: {', '.join(sorted(files))}"),
        ("Source", f"{origin}; sandbox: {source.sandbox}"),
        ("Git ref", claim.git_ref),
        ("Made", " ".join(filter(None, (claim.lineage.created_at, _with(source.libraries, claim.lineage.modelyard))))),
    ]
    if claim.metrics:
        rows.append(("Metrics", ", ".join(f"{metric.name} {metric.value:.4g}" for metric in claim.metrics)))
    return "\n".join(f"{label:<10}{text}" for label, text in rows if text)


def _with(libraries: dict[str, str], modelyard: str) -> str:
    named = {**({"modelyard": modelyard} if modelyard else {}), **libraries}
    return "with " + ", ".join(f"{name} {version}" for name, version in named.items()) if named else ""
