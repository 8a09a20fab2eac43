#!/bin/bash
# Common misspellings, in everything that is text.
set -euo pipefail
git ls-files -z | xargs -0 codespell --skip='LICENSE,tests/fuzz/*' --ignore-words=tests/lint/words.txt
