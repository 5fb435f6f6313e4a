"""Home of the rule by which a key without its whole log keeps silent: it may have signed what nobody here remembers.

What it signed was at heights up to the one that the others worked on when its log was lost. Once it has seen a height
decided by votes that it took part in hearing, of a block made since it began, and the height after it, it is beyond all
of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Abstention:
    """Whether a key may vote; `remembers`: its log is whole."""

    remembers: bool
    until: int | None = None  # the last height at which it says nothing, once that is known

    def stored(self, height: int, *, decided_here: bool, behind: bool) -> None:
        """A height's block is stored; was it decided here, and do others say that there are later ones?"""
        if self.remembers:
            return
        if self.until is not None and height >= self.until:
            self.remembers = True
        elif self.until is None and decided_here and not behind:
            self.until = height + 1

    def forgot(self) -> None:
        """A vote of this key came to light that its log does not know of: there may be more."""
        self.remembers, self.until = False, None

    def may_begin(self, *, alone: bool, highest: int) -> bool:
        """Whether an empty log may begin the first height: another node is there to say that nobody was further.

        `highest` is the greatest height that others work on; 0 where nobody says so, or does any more.
        """
        return self.remembers or alone or highest == 1
