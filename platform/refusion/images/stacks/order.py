"""Orders in which a stack is fused two at a time: a tree whose leaves are the sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

# A source's place in the sorted stack, or what is fused of two such.
Tree = int | tuple["Tree", "Tree"]
T = TypeVar("T")


def chain(leaves: Sequence[Tree]) -> Tree:
    """Returns the first with the second, the result with the third, and so on.

    >>> chain(range(4))
    (((0, 1), 2), 3)
    """
    tree = leaves[0]
    for leaf in leaves[1:]:
        tree = (tree, leaf)
    return tree


def chain_from_last(leaves: Sequence[Tree]) -> Tree:
    """Returns the last two, then the one before with their result, and so on.

    >>> chain_from_last(range(4))
    (0, (1, (2, 3)))
    """
    tree = leaves[-1]
    for leaf in leaves[-2::-1]:
        tree = (leaf, tree)
    return tree


def neighbours(leaves: Sequence[Tree]) -> Tree:
    """Returns each half by itself, then the two: a balanced tree of neighbours.

    >>> neighbours(range(4)), neighbours(range(3))
    (((0, 1), (2, 3)), ((0, 1), 2))
    """
    if len(leaves) == 1:
        return leaves[0]
    half = (len(leaves) + 1) // 2
    return neighbours(leaves[:half]), neighbours(leaves[half:])


def extremes_inward(leaves: Sequence[Tree]) -> Tree:
    """Returns the first with the last, the second with the last but one, …, and these joined from the outermost.

    >>> extremes_inward(range(5))
    (((0, 4), (1, 3)), 2)
    """
    return chain(_extremes(leaves))


def extremes_outward(leaves: Sequence[Tree]) -> Tree:
    """Returns the same pairs as ``extremes_inward``, joined from the middle.

    >>> extremes_outward(range(5))
    ((2, (1, 3)), (0, 4))
    """
    return chain(_extremes(leaves)[::-1])


def _extremes(leaves: Sequence[Tree]) -> list[Tree]:
    half = len(leaves) // 2
    pairs: list[Tree] = [(leaves[k], leaves[-1 - k]) for k in range(half)]
    return pairs + ([leaves[half]] if len(leaves) % 2 else [])


ORDERS: Mapping[str, Callable[[Sequence[Tree]], Tree]] = {
    "chain": chain,
    "chain from last": chain_from_last,
    "neighbours": neighbours,
    "extremes inward": extremes_inward,
    "extremes outward": extremes_outward,
}


def fused_along(tree: Tree, sources: Sequence[T], fuse: Callable[[T, T], T]) -> T:
    """Returns what a tree makes of its leaves.

    >>> fused_along(((0, 1), 2), "abc", lambda a, b: f"({a}{b})")
    '((ab)c)'
    """
    if isinstance(tree, int):
        return sources[tree]
    first, second = tree
    return fuse(fused_along(first, sources, fuse), fused_along(second, sources, fuse))
