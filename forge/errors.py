"""Every failure Forge expects, as a small tree: what happened, how to fix it, and the exit code it ends with.

Exit codes: 0 done · 1 a bug in Forge · 2 config or usage · 3 environment · 4 the stage failed · 130 interrupted.
"""


class ForgeError(Exception):
    """A failure with a message for the user and, where one is known, the fix.

    `message` says what happened, where, and the value found; `fix` is something the user can type or edit.
    """

    exit_code = 4

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

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
