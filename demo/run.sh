#!/usr/bin/env bash
# The demonstration: documents to a model that knows them, then base and tuned model side by side.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
started=$SECONDS
forge run
echo
echo "The same questions, closed book, to the base and to the GGUF just made (no wording of them was trained on):"
mapfile -t questions < questions.txt
forge ask "${questions[@]}" --model base --model gguf --closed-book --quiet --max-tokens 60
echo
echo "$((SECONDS - started)) s in all. Next, from $PWD:"
echo "  forge chat                       talk to it (source ../.venv/bin/activate first)"
echo "  forge serve                      an OpenAI-compatible API on 127.0.0.1:8080"
echo "  cd /your/documents; forge init   a model of your own"
