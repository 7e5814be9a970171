"""Say what a folder of pictures is, check it, and look at it, before anything is trained on it.

python jobs/data.py /data/MSRS                                         # what it is, and what is wrong with it
python jobs/data.py /data/fusion --tasks IVIF MIF --sheet sheet.html   # with a contact sheet
python jobs/data.py /data/films --tasks IVIF --map a=ir,b=vis --split train=80%,val=20% --write /data/fusion
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from refusion.cli.options import Parser, positive
from refusion.cli.shared.sources import add_source_options, reading_from
from refusion.config.arrangement import DEFAULT_DIVISION
from refusion.config.settings import BUILTIN
from refusion.errors import UserError
from refusion.tasks import find_task

_MOST_ALIKE = 10


def inspect_data(arguments: Sequence[str], description: str) -> int:
    """Inspect a data set and say what it is; returns the exit status.

    Raises:
        UserError: the request is at fault, or pairs are bad.
    """
    parser = Parser(description)
    parser.add_argument("data", metavar="DIR", help="a data set of any layout, or builtin")
    parser.add_argument("--tasks", nargs="+", metavar="T", help="fusion tasks [those that the data tells]")
    add_source_options(parser)
    parser.add_argument("--split", metavar="SHARES", help="divide by scenes, such as train=80%%,val=20%%")
    parser.add_argument("--sheet", type=Path, metavar="FILE.html", help="write a contact sheet with thumbnails")
    parser.add_argument("--shown", type=positive, default=200, metavar="N", help="pairs a split on it [%(default)s]")
    parser.add_argument("--write", type=Path, metavar="OUT", help="lay out as OUT/TASK/SPLIT/{a,b}, by links")
    options = parser.parse_args(list(arguments))
    reading = reading_from(options)
    given = [find_task(name).name for name in options.tasks or ()]
    if options.split is not None and "=" not in options.split:
        raise UserError(f"--split {options.split}: write shares, such as --split train=80%,val=20%")
    from rich.console import Console

    from refusion.images.dataset import data_folder, make_available, tasks_of
    from refusion.images.layouts import ALL, splits_of
    from refusion.inspection.checking import refuse_bad
    from refusion.inspection.links import write_links
    from refusion.inspection.page import contact_sheet
    from refusion.inspection.report import find_duplicates, inspect_split, lines_of
    from refusion.runtime.progress_bar import progress_bars

    console = Console()
    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    root = data_folder(options.data)
    make_available(options.data, root)
    reports, alike = [], []
    for task in given or tasks_of(options.data):
        splits = splits_of(root, task, reading.arrangement)
        if splits == [ALL] and options.write is not None:
            splits = [split for split, _ in reading.arrangement.division or DEFAULT_DIVISION]
        with progress_bars(console) as show:
            sheet = options.shown if options.sheet is not None else 0
            of_task = [inspect_split(root, task, split, reading, sheet=sheet, progress=show) for split in splits]
        for report in of_task:
            say(f"{task}/{report.split}")
            for line in lines_of(report):
                say(f"  {line}")
        duplicates = find_duplicates(of_task)
        crossing = sum(one.cross for one in duplicates)
        say(f"{task}: pairs that look alike: {len(duplicates)}, of them in two splits: {crossing}")
        for one in duplicates[:_MOST_ALIKE]:
            say(f"  {'/'.join(one.first)} and {'/'.join(one.second)}")
        reports += of_task
        alike += duplicates
    if options.sheet is not None:
        _write(
            options.sheet, contact_sheet(f"Data: {root.name if options.data != BUILTIN else BUILTIN}", reports, alike)
        )
        say(f"contact sheet: {options.sheet}")
    refuse_bad([report.checked for report in reports], skip_bad=options.skip_bad_pairs)
    if options.write is not None:
        laid_out = [(one.task, one.split, [report.pair for report in one.pairs]) for one in reports]
        count = write_links(options.write, root, laid_out)
        say(f"{count} pairs laid out by links: --data {options.write.expanduser().absolute()}")
    return 0


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--sheet {file}: cannot be written ({error.strerror})") from error
