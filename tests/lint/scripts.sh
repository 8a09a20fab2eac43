#!/bin/bash
# Shell scripts pass shellcheck, Python files pyflakes.
set -euo pipefail
# shellcheck disable=SC2046 # our file names have no blanks
shellcheck $(git ls-files '*.sh' .ci/run)
git ls-files '*.py' tests/bench/run | xargs pyflakes3
