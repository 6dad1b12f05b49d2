#!/usr/bin/env bash
# Phase 1.1: the seven tests of this environment; exit 3 if a critical or required one fails. More: `forge doctor`.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../scripts/run.sh" verify_environment "$@"
