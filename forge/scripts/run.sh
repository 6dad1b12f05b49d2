#!/usr/bin/env bash
# run.sh NAME [arguments]: one of the workflow's scripts, with the Python of the activated environment, else of the
# checkout's .venv, else python3. The workspace is the current folder.
set -euo pipefail
scripts=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -x "${VIRTUAL_ENV:-}/bin/python" ]; then python=$VIRTUAL_ENV/bin/python
elif [ -x "$scripts/../../.venv/bin/python" ]; then python=$scripts/../../.venv/bin/python
else python=python3; fi
exec "$python" "$scripts/launch.py" "$@"
