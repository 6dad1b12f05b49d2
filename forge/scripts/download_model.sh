#!/usr/bin/env bash
# Phase 2.3: fetches the base model into models/base/ORG/NAME. The same as `forge download`.
exec bash "$(dirname "${BASH_SOURCE[0]}")/run.sh" download_model "$@"
