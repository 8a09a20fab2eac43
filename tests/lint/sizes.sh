#!/bin/bash
# No file over 600 lines, no function over 60.
set -euo pipefail
status=0
while read -r file; do
	lines=$(wc -l <"$file")
	if ((lines > 600)); then
		echo "$file: $lines lines"
		status=1
	fi
done < <(git ls-files '*.c' '*.h' '*.sh' '*.py')
# shellcheck disable=SC2046 # our file names have no blanks
ctags --languages=C --kinds-C=f --fields=+ne -f - $(git ls-files '*.c') |
	awk -F'\t' '{
		for (i = 4; i <= NF; i++) {
			if ($i ~ /^line:/) start = substr($i, 6)
			if ($i ~ /^end:/) end = substr($i, 5)
		}
		if (end - start + 1 > 60) { print $2 ": " $1 "(): " end - start + 1 " lines"; bad = 1 }
	} END { exit bad }' || status=1
exit $status
