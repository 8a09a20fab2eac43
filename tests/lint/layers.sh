#!/bin/bash
# An include may only point down: base <- device <- staging <- daemon <- container <- cli, and fs <- base.
# Only daemon/server*.c, which tie the two together, may include fs/.
set -euo pipefail
declare -A below=(
	[base]="base"
	[device]="base device"
	[staging]="base device staging"
	[daemon]="base device staging daemon"
	[container]="base daemon container"
	[cli]="base device staging daemon container cli"
	[fs]="base fs"
)
status=0
while IFS=: read -r file line text; do
	layer=${file#src/} layer=${layer%%/*}
	target=${text#*\"} target=${target%%\"*}
	[[ $target == */* ]] && target=${target%%/*} || target=$layer
	[[ $target == fs && $file == src/daemon/server*.c ]] && continue
	if [[ " ${below[$layer]} " != *" $target "* ]]; then
		echo "$file:$line: $layer may not include $target: $text"
		status=1
	fi
done < <(git grep -n '^ *# *include *"' -- 'src/*.[ch]' 'fs/*.[ch]')
exit $status
