#!/bin/bash
# clang-tidy with the checks of .clang-tidy. $1: a build directory made with clang.
set -euo pipefail

# tidy OPTION...: on the files named on standard input, two at a time.
tidy() { xargs -P 2 -n 4 clang-tidy --quiet "$@"; }

# Only the server has threads, so only there a function must be safe with them.
status=0
git ls-files 'src/*.c' | tidy -p "$1" --checks=-concurrency-mt-unsafe || status=1
git ls-files 'fs/*.c' | tidy -p "$1" || status=1
exit $status
