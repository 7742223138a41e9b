#!/usr/bin/env bash
# Clone HEAD into an empty folder and live through what a new user does: run, test, check.
# Fails when a step fails, when the run takes over 60 s after the installation, when the tests
# take over 8 minutes, or when a step leaves anything behind that git does not ignore.
set -euo pipefail

root=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
place=$(mktemp -d "${TMPDIR:-/tmp}/msl-clean-clone.XXXXXX")
trap 'rm -rf "$place"' EXIT
if [ -n "$(git -C "$root" status --porcelain)" ]; then
    echo "note: the clone holds HEAD; uncommitted changes are not in it" >&2
fi
# Nothing of the caller's environment may help the clone, nor the make that called this script.
unset MAKEFLAGS MFLAGS MAKELEVEL PYTHONPATH VIRTUAL_ENV NUMBA_CACHE_DIR MLFLOW_TRACKING_URI

git clone --quiet "file://$root" "$place/msl"
cd "$place/msl"

step() { # step LIMIT COMMAND...: run, print the seconds taken, refuse more than LIMIT
    local limit=$1 start=$SECONDS taken
    shift
    "$@"
    taken=$((SECONDS - start))
    echo "clean clone: $* took $taken s (limit $limit s)"
    if [ "$taken" -gt "$limit" ]; then
        echo "clean clone: $* is too slow" >&2
        exit 1
    fi
}

step 900 make .venv/ready
step 60 make run
step 480 make test
step 300 make check

left=$(git status --porcelain)
if [ -n "$left" ]; then
    printf 'clean clone: these files are left behind and not ignored:\n%s\n' "$left" >&2
    exit 1
fi
echo "clean clone: green"
