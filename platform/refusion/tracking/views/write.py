"""Views written into an experiment, with a description that links to them, and their addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

from mlflow import MlflowClient, MlflowException
from sqlalchemy.exc import SQLAlchemyError

from refusion.tracking.failures import reason_of
from refusion.tracking.store import page_address, run_address, ui_command
from refusion.tracking.views.state import TAG, view_states

NOTE_TAG = "mlflow.note.content"
# By its first line a description of ours is known from one that a person has written.
_TITLE = "**Image fusion: trainings, sweeps and evaluations.**"
# MLflow's name of a picture's file; a slash of its key is a tilde there.
_PICTURE = re.compile(r"images/(fused|sheet)~(.+)\+step\+(\d+)\+timestamp")
_MOST_PICTURES = 24
_VIEWS = {
    "tasks": "scores of each task",
    "jobs": "jobs side by side",
    "pictures": "which job is better on which task, fused pictures under a slider, the scores' curves",
    "sweep": "trials of sweeps, best first",
}


def write_views(
    uri: str,
    experiment_id: str,
    *,
    varied: Sequence[str] = (),
    pictures_of: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> str | None:
    """Writes the views, the description and the tags of an experiment, where they differ from what is there.

    Args:
        uri, experiment_id: of the store.
        varied: as in ``view_states``; none leaves the view of sweeps as it is.
        pictures_of: runs whose fused pictures are shown at their last epoch; none leaves the view of pictures as it is.
        tags: further ones of the experiment.

    Returns:
        None, or in one line why they could not be written: no training waits for its views.
    """
    try:
        put_views(uri, experiment_id, varied=varied, pictures_of=pictures_of, tags=tags)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        return reason_of(error)
    return None


def put_views(
    uri: str,
    experiment_id: str,
    *,
    varied: Sequence[str] = (),
    pictures_of: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Writes them as ``write_views``, and raises what MLflow raises."""
    client = MlflowClient(tracking_uri=uri)
    there = client.get_experiment(experiment_id).tags
    states = view_states(varied, _pictures(client, pictures_of))
    wanted = {TAG + name: json.dumps(state) for name, state in states.items()} | dict(tags or {})
    for name, given in (("sweep", varied), ("pictures", pictures_of)):
        if not given and TAG + name in there:
            del wanted[TAG + name]
    if there.get(NOTE_TAG, _TITLE).startswith(_TITLE):
        wanted[NOTE_TAG] = _description(experiment_id)
    for name, value in wanted.items():
        if there.get(name) != value:
            client.set_experiment_tag(experiment_id, name, value)


def _pictures(client: MlflowClient, run_ids: Sequence[str]) -> dict[str, int]:
    """Returns the keys of the runs' fused pictures and sheets, the first of each run first, with their last epochs."""
    each = [_pictures_of(client, run_id) for run_id in run_ids]
    turns = chain.from_iterable(zip_longest(*each))
    found = dict.fromkeys(key for key in turns if key is not None)
    last = {key: max(of_run.get(key, 0) for of_run in each) for key in found}
    return dict(list(last.items())[:_MOST_PICTURES])


def _pictures_of(client: MlflowClient, run_id: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for file in client.list_artifacts(run_id, "images"):
        if logged := _PICTURE.match(file.path):
            key, step = f"{logged[1]}/{logged[2]}", int(logged[3])
            found[key] = max(step, found.get(key, 0))
    return found


def view_address(uri: str, experiment_id: str, name: str) -> str:
    """Returns the address of a view's page: on the server, or as the command of ``ui_command`` serves it here."""
    return page_address(uri, _page(experiment_id, name))


def pages(uri: str, experiment_id: str, views: Sequence[str], run_id: str | None = None) -> str:
    """Returns lines for a console: the command that serves MLflow's pages, where one is needed, and their addresses.

    Args:
        uri, experiment_id: of the store.
        views: names.
        run_id: of a run whose page comes last.
    """
    addresses = [view_address(uri, experiment_id, view) for view in views]
    if run_id is not None:
        addresses.append(run_address(uri, experiment_id, run_id))
    command = ui_command(uri)
    # A server has its pages already; a database needs the command first.
    return "\n".join(addresses if addresses[0].startswith(command) else [command, *addresses])


def _page(experiment_id: str, name: str) -> str:
    charts = "&compareRunsMode=CHART" if name == "pictures" else ""
    return f"experiments/{experiment_id}/runs?viewStateShareKey={name}{charts}"


def _description(experiment_id: str) -> str:
    links = [f"- [{text}](#/{_page(experiment_id, name)})" for name, text in _VIEWS.items()]
    return "\n".join([_TITLE, "", *links])
