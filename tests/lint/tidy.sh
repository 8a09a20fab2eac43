#!/bin/bash
# clang-tidy with the checks of .clang-tidy. $1: a build directory made with clang.
set -euo pipefail
files=$(git ls-files 'src/*.c' 'fs/*.c')
# shellcheck disable=SC2086 # our file names have no blanks
xargs -P 2 -n 4 clang-tidy --quiet -p "$1" <<<"$files"
