"""``--sources``: stacks of three or more exposures or focal planes."""

from __future__ import annotations

import argparse
from functools import partial

from refusion.cli.fusing.loaded import loaded_module
from refusion.cli.shared.results import ResultOptions, write_result
from refusion.config.ranges import Reading
from refusion.errors import UserError


def take_sources(options: argparse.Namespace) -> None:
    """Puts two ``--sources`` in the places of ``--a`` and ``--b``; leaves more where they are.

    Raises:
        UserError: neither form is whole, both are given, or one source is named.
    """
    if not options.sources:
        for name in "ab":
            if getattr(options, name) is None:
                raise UserError(f"--{name} is missing: give --a and --b, or --sources F1 F2 F3 …")
        return
    if options.a is not None or options.b is not None:
        raise UserError("--sources goes without --a and --b: name all sources by it")
    if len(options.sources) == 1:
        raise UserError(f"--sources {options.sources[0]}: name two sources or more")
    if len(options.sources) == 2:
        (options.a, options.b), options.sources = options.sources, []


def fuse_stacks(options: argparse.Namespace, task: str, reading: Reading, result: ResultOptions) -> int:
    """Fuse a stack of files, or all stacks of equal stems of several folders; returns the exit status.

    Raises:
        UserError: the request or a picture is at fault.
    """
    from rich.console import Console

    from refusion.images.destinations import check_destination
    from refusion.images.stacks.stack import check_stacks
    from refusion.runtime.progress_bar import progress_bar
    from refusion.stacks import check_count, fuse_stack_exact, said_order

    check_count(task, len(options.sources))
    for name in ("map", "adapt"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name}: is for pairs, not for stacks; leave it out, or give --a and --b")
    console = Console()
    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    if not options.check:
        check_destination("--out", options.out, options.sources)
        loaded = loaded_module(options, task)
    with progress_bar("checking", console) as show:
        checked = check_stacks(options.sources, task, reading=reading, progress=show)
    if options.check:
        for line in checked.lines():
            say(line)
        say(f"{task}: {len(checked.stacks)} good stacks, {len(checked.problems)} problems")
    stacks = checked.good(skip_bad=options.skip_bad_pairs)
    if options.check:
        return 0
    for line in checked.lines():
        say(line)
    targets = [result.target(options.out, stack.name) for stack in stacks]
    check_destination("--out", options.out, [file for stack in stacks for file in stack.files], targets)
    say(f"{task}: fusing {len(stacks)} stacks of {len(options.sources)} with {loaded.about}")
    say(f"{task}: stacks are fused {said_order(task)}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {options.out}: the folder cannot be made ({error.strerror})") from error
    with progress_bar("fusing", console) as show:
        for done, (stack, target) in enumerate(zip(stacks, targets, strict=True), start=1):
            pictures = (stack.read(index) for index in range(len(stack.files)))
            try:
                fused = fuse_stack_exact(loaded.module, pictures, task, stretched=result.stretched, grey=result.grey)
            except UserError as error:
                raise UserError(f"{stack.files[0]}: {error}") from error
            # The first source in colour says how it is to be shown.
            by_colour = sorted(stack.files, key=lambda file: -checked.facts[str(file)].channels)
            write_result(target, fused, result, by_colour[0], by_colour[1])
            show(done, len(stacks))
    say(f"{task}: {len(stacks)} fused in {options.out}")
    return 0
