"""The check of a job's data and nothing else: what ``--check`` does in every job."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refusion.config.ranges import Reading
from refusion.images.dataset import check_pairs, data_folder, make_available
from refusion.images.layouts import splits_of
from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Checked, bad_pairs_error, good_pairs, note_lines

Say = Callable[[str], None]


def check_data(
    data: str,
    tasks: Sequence[str],
    reading: Reading,
    *,
    skip_bad: bool,
    say: Say,
    splits: Sequence[str] | None = None,
    training: bool = False,
) -> None:
    """Checks the pairs of a data set as a job would, and says what there is.

    Args:
        data: the setting, a folder or "builtin".
        tasks: names of tasks.
        reading: how sources are found and read.
        skip_bad: bad pairs are left out, as by the job.
        say: called with each line.
        splits: those to check; all that there are by default.
        training: the two that a training needs, and val pairs large enough for its metrics.

    Raises:
        UserError: there is no such data, or pairs are bad (all of them are listed) or none is left.
    """
    folder = data_folder(data)
    make_available(data, folder)
    if training:
        for pairs in check_pairs(data, tasks, skip_bad=skip_bad, reading=reading):
            for line in note_lines(pairs.notes):
                say(line)
            left_out = f", {len(pairs.skipped)} files left out" if pairs.skipped else ""
            say(f"{pairs.task}: {len(pairs.train)} good train and {len(pairs.val)} good val pairs{left_out}")
        return
    outcomes = []
    for task in tasks:
        for split in splits or splits_of(folder, task, reading.arrangement):
            checked = find_and_check(folder, task, split, reading=reading)
            tell_checked(f"{task}/{split}", checked, say)
            outcomes.append(checked)
    refuse_bad(outcomes, skip_bad=skip_bad)


def tell_checked(title: str, checked: Checked, say: Say) -> None:
    """Says of one check what was taken as what, how many pairs are good, and what is to be noted."""
    for line in note_lines(checked.notes):
        say(line)
    say(f"{title}: {len(checked.pairs)} good pairs, {len(checked.problems)} problems")


def refuse_bad(outcomes: Sequence[Checked], *, skip_bad: bool) -> None:
    """Ends a check.

    Raises:
        UserError: there are problems that are not to be left out, all of which it lists; or no good pair is left.
    """
    problems = [problem for checked in outcomes for problem in checked.problems]
    if problems and not skip_bad:
        raise bad_pairs_error(problems)
    for checked in outcomes:
        good_pairs(checked, skip_bad=skip_bad)
