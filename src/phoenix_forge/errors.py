"""Every failure Forge expects, as a small tree: what happened, how to fix it, and the exit code it ends with.

Exit codes: 0 done · 1 a bug in Forge · 2 config or usage · 3 environment · 4 the stage failed · 130 interrupted.
"""

import unicodedata

_LINE = 1000  # characters of a line of a message
# Controls, marks of direction and other characters that nobody sees, halves of pairs, breaks of line and paragraph.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are spelled with them


def escaped(text: str, keep: str = "") -> str:
    """Text that may hold a stranger's words (names of files, titles, values of settings), fit for a terminal and a log:
    what is not seen is written out, `\\x1b`, `\\u202e`, `\\n`. It can neither drive a terminal nor pass for a line or
    an order of characters of its own. `keep` are characters that stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c
        if c in keep or c in _JOINERS or unicodedata.category(c) not in _UNSEEN
        else c.encode("unicode_escape").decode()
        for c in text
    )


def one_line(text: str) -> str:
    """What a stranger's file says, as part of a message: on one line, at most 300 characters, escapes written out."""
    text = escaped(text[:300])
    return text if len(text) < 300 else f"{text[:299]}…"


def _visible(text: str) -> str:
    """Values found are quoted in messages, and files come from strangers: no control character reaches the terminal
    (one could rewrite what stands there), and no value fills it."""
    lines = [escaped(line, keep="\t") for line in text.split("\n")]
    return "\n".join(line if len(line) <= _LINE else f"{line[:_LINE]}…" for line in lines)


class ForgeError(Exception):
    """A failure with a message for the user and, where one is known, the fix.

    `message` says what happened, where, and the value found; `fix` is something the user can type or edit.
    """

    exit_code = 4

    def __init__(self, message: str, fix: str | None = None) -> None:
        self.message, self.fix = _visible(message), fix and _visible(fix)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nfix: {self.fix}" if self.fix else self.message


class UsageError(ForgeError):
    """The config, the command line or a file the user named is wrong (exit 2)."""

    exit_code = 2


class EnvironmentProblem(ForgeError):
    """This machine lacks something the command needs: memory, disk, a library, a service, a token (exit 3)."""

    exit_code = 3


class Preempted(ForgeError):
    """Asked to stop by a signal, and stopped with everything saved (exit 0: the next run goes on)."""

    exit_code = 0


class StageFailed(ForgeError):
    """A stage started and could not finish, or its result did not pass its own check (exit 4)."""

    exit_code = 4
