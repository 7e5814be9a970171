"""Layout of a command's docstring at the head of its ``--help``."""

from __future__ import annotations

# Examples in a docstring begin with one of these.
_PROGRAMS = ("python ", "ray ", "refusion ")


def laid_out(description: str) -> str:
    """Returns a docstring with each example command on a line of its own, below the comment on it.

    >>> print(laid_out("Trains.\\n\\npython jobs/train.py --gpu      # fast\\nray job list"))
    Trains.
    <BLANKLINE>
      # fast
      python jobs/train.py --gpu
      ray job list
    """
    lines: list[str] = []
    continued = False
    for line in description.splitlines():
        if continued or line.startswith(_PROGRAMS):
            command, _, comment = line.partition("  # ")
            lines += [f"  # {comment.strip()}"] * bool(comment) + [f"  {command.rstrip()}"]
            continued = line.endswith("\\")
        else:
            lines.append(line)
    return "\n".join(lines)
