"""The home folder, opened: every verb of the control plane starts from one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.core.identity import LOCAL, Principal
from modelyard.core.settings import Settings
from modelyard.store import files

if TYPE_CHECKING:
    from modelyard.registry.artifacts import Artifacts
    from modelyard.registry.catalogue import Catalogue
    from modelyard.store.database import Database


@dataclass(frozen=True)
class Home:
    """One installation's state, and who acts on it: rows, versions, and their bytes. Holds nothing open; safe in threads."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    artifacts: Artifacts
    actor: Principal = LOCAL


def open_home(settings: Settings) -> Home:
    """The home that the settings name, made (for this user alone) when there is none.

    Raises
    ------
    StoreDamaged, StoreFull, Unavailable
        See `Database.open`.
    """
    # The database brings SQLAlchemy, 0.2 s to import: paid by whoever opens a home, not by whoever imports a verb.
    from modelyard.registry.artifacts import Artifacts  # noqa: PLC0415 - as above
    from modelyard.registry.catalogue import Catalogue  # noqa: PLC0415 - as above
    from modelyard.store.blobs import open_blobs  # noqa: PLC0415 - as above
    from modelyard.store.database import Database  # noqa: PLC0415 - as above

    files.make_folder(settings.home)
    files.make_folder(settings.plans)
    database = Database.open(settings.database)
    return Home(
        settings=settings,
        database=database,
        catalogue=Catalogue(database),
        artifacts=Artifacts(open_blobs(settings.blobs.as_uri()), settings.bundles),
    )
