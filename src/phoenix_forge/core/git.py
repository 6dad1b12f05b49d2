"""The only way to git. Repositories come from strangers, and their own settings can have git start programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# What a repository's configuration could have run by the commands that only look. What is given on the command line
# wins over every file, included ones too: https://git-scm.com/docs/git-config.
SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.pager=cat",
    "core.untrackedCache=false",
    "diff.external=",
    "credential.helper=",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
)
# No objects are fetched for an index that leaves some out (a remote is a command, too), by no transport; nothing is
# asked and nothing written.
QUIET = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}
KEPT = (
    "GIT_CONFIG_",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_EXEC_PATH",
)  # the user's own
PATIENCE = 120.0  # seconds: a list of a million files takes two; a pipe in place of a list of patterns never ends


def git(folder: str | Path, *arguments: str) -> bytes | None:
    """What a git command that only looks prints in `folder`; None where it fails: no git, no repository, one of another
    owner, a bare one."""
    # Of the environment, a hook's GIT_DIR or GIT_INDEX_FILE would have git look at another repository.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(KEPT)
    }
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "--no-pager", *settings, *arguments],
            cwd=folder,
            env=environment | QUIET,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
