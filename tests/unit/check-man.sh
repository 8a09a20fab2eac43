#!/bin/sh
# The manual pages against the program: every command and every option of --help is described in
# hotplugfs.8.scd, with the same short form and value, and the other way round (run has all the
# options of mount, which are described once); every setting of
# the command line is in hotplugfs.conf.5.scd and in the example, and the example is accepted,
# also with all that is commented out in it put in force.
# Usage: check-man.sh PROGRAM SOURCE_ROOT
set -eu

program=$1
root=$2
page=$root/man/hotplugfs.8.scd
conf_page=$root/man/hotplugfs.conf.5.scd
example=$root/examples/hotplugfs.conf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

wrong() {
	echo "check-man: $*" >&2
	status=1
}

# help_options COMMAND: "-a, --all" or "--config FILE", one a line, sorted.
help_options() {
	"$program" "$1" --help | sed -nE 's/^ +((-[a-z], )?--[^ ]+( [^ ]+)?)( .*)?$/\1/p' |
		sed -E 's/ [a-z].*$//' | sort
}

# man_options SECTION: the same from the page.
man_options() {
	sed -n "/^# $1\$/,/^# /p" "$page" | sed -n 's/^\(\*-.*\)$/\1/p' | tr -d '*_\134' | sort
}

# compare WHAT FILE FILE
compare() {
	if ! cmp -s "$2" "$3"; then
		wrong "$1: --help (-) and the manual page (+) differ:"
		diff -U0 "$2" "$3" | sed '1,2d' >&2 || true
	fi
}

"$program" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p' | sort >"$work/commands"
sed -nE '/^# SYNOPSIS/,/^# DESCRIPTION/s/^\*hotplugfs ([a-z]+)\*.*/\1/p' "$page" | sort \
	>"$work/commands.man"
[ -s "$work/commands" ] || wrong "$program --help lists no command"
compare "commands" "$work/commands" "$work/commands.man"

while read -r command; do
	section=$(echo "$command" | tr '[:lower:]' '[:upper:]')
	help_options "$command" >"$work/help"
	{
		man_options "$section"
		[ "$command" != run ] || man_options MOUNT
		man_options "OPTIONS OF ALL COMMANDS"
	} | sort >"$work/man"
	[ -s "$work/help" ] || wrong "$command --help lists no option"
	compare "$command" "$work/help" "$work/man"
done <"$work/commands"

# Every setting of mount, but for the file itself, is a setting of the file.
help_options mount | sed -nE 's/^.*--([a-z-]+).*/\1/p' | sed -E 's/^no-//' |
	grep -vxE 'help|version|config' >"$work/settings"
while read -r setting; do
	grep -qE "^\*$setting\*" "$conf_page" || wrong "$setting is not in hotplugfs.conf(5)"
	grep -qE "^#?$setting *=" "$example" || wrong "$setting is not in $example"
done <"$work/settings"
sed -nE 's/^\*([a-z-]+)\* = .*/\1/p' "$conf_page" >"$work/described"
while read -r setting; do
	grep -qE "^#?$setting *=" "$example" || wrong "$setting is not in $example"
done <"$work/described"

# What the tables in src/staging allow, one a line, sorted.
options_allowed() {
	awk '/define OWNER_OPTIONS/ { print } /\.allowed =/ { on = 1; sub(/.*\.allowed =/, "") }
		on { if (match($0, /",($| \.)/)) { $0 = substr($0, 1, RSTART); on = 0 } print }' \
		"$root/src/staging/drivers.c" "$root/src/staging/programs.c" |
		grep -oE '"[^"]+"' | tr -d '"' | tr ',' '\n' | grep . | sort -u
}

options_allowed >"$work/allowed"
sed -n '/^# MOUNT OPTIONS$/,/^# EXAMPLE$/p' "$conf_page" | grep '^	' | tr -d '\t .' | tr ',' '\n' |
	grep . | sort -u >"$work/allowed.man"
[ "$(wc -l <"$work/allowed")" -gt 50 ] || wrong "the tables of drivers were not understood"
compare "mount options" "$work/allowed" "$work/allowed.man"

# Comments of the example have a blank after the #, settings that are out of force do not.
sed -E 's/^#([^ ])/\1/' "$example" >"$work/all.conf"
for file in "$example" "$work/all.conf"; do
	if "$program" probe --config "$file" no-such-device 2>"$work/error"; then
		wrong "probe of a device that is not there succeeded"
	fi
	grep -q 'no-such-device' "$work/error" || wrong "$file: $(cat "$work/error")"
done
exit $status
