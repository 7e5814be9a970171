"""Last lines of a job: the commands that go on from where it ended, in the form in which it was started."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd

from refusion.home import job_command
from refusion.runtime.ray_internals import submitted_job

# Set where the cluster that runs the job ends with it, so that nothing can be submitted to it afterwards.
CLUSTER_ENDS = "REFUSION_CLUSTER_ENDS"


def same_form(file: str, command: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Words that call a job in the form in which this one was started: by `ray job submit` where it was submitted.

    Args:
        file: path of the job in a checkout, such as ``jobs/sweep.py``.
        command: the subcommand of ``refusion`` that does the same.
        environment: of this process.
    """
    job = submitted_job(environment)
    if job is None or environment.get(CLUSTER_ENDS):
        return job_command(file, command)
    uploaded = "working_dir" in (job.get("runtime_env") or {})
    called = sys.argv[0] if Path(sys.argv[0]).name == Path(file).name else file
    return ["ray", "job", "submit", *(["--working-dir", "."] if uploaded else []), "--", "python", called]


def local_path(uri: str) -> Path | None:
    """Returns a folder of this machine by its path or ``file:`` address; None where it is elsewhere."""
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri else Path(uri)


def path_or_uri(uri: str) -> str:
    """Returns a folder as commands take it: by its path where it is on this machine.

    >>> path_or_uri("file:///runs/one"), path_or_uri("s3://bucket/runs/one")
    ('/runs/one', 's3://bucket/runs/one')
    """
    return str(local_path(uri) or uri)


def next_steps(steps: Mapping[str, str | Sequence[str] | None]) -> list[str]:
    """Lines for a console: each step's name, below it what to type or open; a step that is None is left out.

    >>> next_steps({"pictures": "/runs/one/pictures", "resume this run": None, "fuse": ["python", "f.py", "a b"]})
    ['pictures:', '  /runs/one/pictures', 'fuse:', "  python f.py 'a b'"]
    """
    lines: list[str] = []
    for name, given in steps.items():
        if given is not None:
            text = given if isinstance(given, str) else shlex.join(given)
            lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    return lines


def described(rows: Sequence[Mapping[str, object]], steps: Sequence[str]) -> str:
    """Returns a run's description in Markdown: the command that began it, its table of scores, and its next steps.

    Args:
        rows: of the table, all with the same names; none is no table.
        steps: lines of ``next_steps``.
    """
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    table = pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4f") if rows else ""
    return "\n\n".join(part for part in (_block([command]), table, _block(steps)) if part)


def _block(lines: Sequence[str]) -> str:
    return "\n".join(["```", *lines, "```"])
