"""Where the versions' files lie: the same folder for all control planes of a database. Called by wiring."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from tidegate.errors import DataDirUnusable
from tidegate.store import leases as rows
from tidegate.store.database.engine import Store

log = logging.getLogger(__name__)

ID_FILE = "files.id"
CONTROL_LOCK = "control.lock"
"""Every control plane's data directory has this file."""


def files_home(store: Store, own: Path) -> Path:
    """The folder that the database names, where it can be reached from here, else `own`.

    The first control plane of a database has its own one written down, with an id that lies in the folder too: another
    folder of the same name on another machine is not taken for it.
    """
    if store.file is not None:  # one platform
        return own
    with store.transaction() as tx:
        lease = rows.ensure(tx)
        if not lease.files_id:
            lease.files_id = _id_in(own) or _new_id(own)
        if _id_in(own) == lease.files_id:
            lease.files_dir = str(own)  # also where it was moved
        recorded, wanted = Path(lease.files_dir), lease.files_id
    if _id_in(recorded) == wanted:
        return recorded
    log.warning(
        "the versions' files lie in %s, which cannot be reached from here: %s is used, and replicas of versions that "
        "are not in it will not start. Mount it at the same path, or give all control planes TIDEGATE_FILES_DIR",
        recorded,
        own,
    )
    return own


def files_of_platform(store: Store, settings_dir: Path | None, data_dir: Path) -> Path:
    """The same folder for a worker, which never decides where it is. Raises `DataDirUnusable` if it cannot be had."""
    own = settings_dir or data_dir
    if store.file is not None:
        if settings_dir is None and not (data_dir / CONTROL_LOCK).exists():
            raise DataDirUnusable(
                f"{data_dir} is no data directory of a control plane, and the state is in an SQLite file: give the "
                "control plane's --data-dir, or name the folder of its files in TIDEGATE_FILES_DIR"
            )
        return own
    with store.reading() as tx:
        lease = rows.current(tx)
    wanted = lease.files_id if lease else ""
    for folder in (own, Path(lease.files_dir) if lease else own):
        if wanted and _id_in(folder) == wanted:
            return folder
    raise DataDirUnusable(
        f"the versions' files lie in {lease.files_dir if lease else 'a folder that no control plane has named yet'}, "
        "which cannot be reached from here: mount it at the same path, or name it in TIDEGATE_FILES_DIR"
    )


def _id_in(folder: Path) -> str:
    try:
        return (folder / ID_FILE).read_text().strip()
    except OSError:
        return ""


def _new_id(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files_id = secrets.token_hex(8)
    (folder / ID_FILE).write_text(files_id + "\n")
    return files_id
