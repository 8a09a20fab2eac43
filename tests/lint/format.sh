#!/bin/bash
# The layout is the one of .clang-format (clang-format 14, as in Debian 12).
set -euo pipefail
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror
