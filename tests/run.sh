#!/bin/bash
# Runs the tests: tests/run.sh [PART...] [-k EXPR]. tests/README.md tells what the parts are.
# Works as root on a Debian machine with nothing installed. The last line is the sum of all parts.
set -uo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1

default_parts=(unit clang lint demo usb system together)
work=$(mktemp -d)
passed=0 failed=0 skipped=0
expression=""
meson_common=(-Dwerror=true)

lanes=()
trap 'end_lanes; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

usage() {
	cat <<-EOF
	Usage: tests/run.sh [PART...] [-k EXPR]
	  unit      build with gcc, run the unit tests
	  clang     the same with clang and without assertions in the daemon
	  lint      formatting, clang-tidy, sizes, order of layers, spelling, scripts
	  demo      examples/demo.sh
	  system    the real thing: FUSE, loop and zram devices
	  fallback  what moves data, again with --no-passthrough
	  usb       some USB sticks and a card reader in a virtual machine: a sample of vm
	  asan      system tests with the address and undefined behaviour sanitizers
	  tsan      system tests with the thread sanitizer
	  together  fallback, asan and tsan at the same time: they mostly wait
	  stress    random operations for half an hour (not run by default)
	  vm        other kernels and USB in virtual machines, for an hour (not run by default)
	  -k EXPR   only the system tests that match, as for pytest
	Without a part: ${default_parts[*]}
	EOF
}

say() { printf '\n== %s\n' "$*"; }

# count PASSED FAILED [SKIPPED]
count() {
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + ${3:-0}))
}

# check NAME COMMAND...: one test.
check() {
	local name=$1 start=$SECONDS
	shift
	if "$@" >"$work/log" 2>&1 </dev/null; then
		printf 'ok      %s (%d s)\n' "$name" $((SECONDS - start))
		count 1 0 0
	else
		printf 'FAILED  %s\n' "$name"
		tail -n 200 "$work/log"
		count 0 1 0
		return 1
	fi
}

# install_packages LIST
install_packages() {
	local missing=() package
	while read -r package; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
			missing+=("$package")
	done < <(sed 's/#.*//; /^ *$/d' "$1")
	((${#missing[@]})) || return 0
	say "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt_install "${missing[@]}" || { apt-get -qq update && apt_install "${missing[@]}"; }
}

apt_install() {
	apt-get -qq install -y --no-install-recommends "$@" >"$work/apt" 2>&1 </dev/null ||
		{ tail -n 5 "$work/apt"; return 1; }
}

# build NAME CC [MESON OPTION...]: makes or updates build-NAME.
build() {
	local name=$1 cc=$2
	shift 2
	check "build with $cc: build-$name" build_quietly "build-$name" "$cc" "$@"
}

build_quietly() {
	local dir=$1 cc=$2
	shift 2
	if [ -f "$dir/build.ninja" ]; then
		meson configure "$dir" "${meson_common[@]}" "$@" || return
	else
		CC=$cc meson setup "$dir" "${meson_common[@]}" "$@" || return
	fi
	ninja -C "$dir"
}

# meson_test DIR: the unit tests of one build.
meson_test() {
	meson test -C "$1" --no-rebuild --print-errorlogs </dev/null
	count_results meson "$1/meson-logs/testlog.json"
}

count_results() {
	local numbers
	numbers=$(/usr/bin/python3 tests/count.py "$1" "$2") || numbers="0 1 0"
	# shellcheck disable=SC2086 # three numbers
	count $numbers
}

# pytest_run NAME BINARY [ARGUMENT...]: the system tests.
pytest_run() {
	pytest_in tests/system "$@"
}

# pytest_in DIRECTORY NAME BINARY [ARGUMENT...]
pytest_in() {
	local directory=$1 name=$2 binary=$3
	shift 3
	[ -n "$expression" ] && set -- "$@" -k "$expression"
	say "$directory: $name"
	/usr/bin/python3 -m pytest -q --tb=short --durations=8 --junitxml="$work/$name.xml" \
		--hotplugfs="$top/$binary" "$@" "$directory" </dev/null
	if [ $? -eq 5 ]; then # nothing is selected by -k
		count 0 0 0
	else
		count_results junit "$work/$name.xml"
	fi
}

part_unit() {
	build gcc gcc && meson_test build-gcc
}

part_clang() {
	build clang clang -Db_ndebug=true && meson_test build-clang
}

part_lint() {
	local script
	[ -f build-clang/compile_commands.json ] || build clang clang -Db_ndebug=true || return
	for script in tests/lint/*.sh; do
		check "$(basename "$script" .sh)" "$script" build-clang
	done
}

part_demo() {
	check examples/demo.sh examples/demo.sh
}

part_system() {
	build gcc gcc && pytest_run system build-gcc/hotplugfs
}

part_fallback() {
	build gcc gcc && pytest_run fallback build-gcc/hotplugfs --no-passthrough -m "data and not slow"
}

part_asan() {
	build asan gcc -Db_sanitize=address,undefined -Db_lundef=false || return
	export ASAN_OPTIONS=halt_on_error=1:detect_leaks=0:strict_string_checks=1
	export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
	meson_test build-asan
	TEST_SLOWNESS=3 TEST_DENTRIES=5000 pytest_run asan build-asan/hotplugfs -m "not slow"
	unset ASAN_OPTIONS UBSAN_OPTIONS
}

part_tsan() {
	build tsan clang -Db_sanitize=thread -Db_lundef=false || return
	export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
	TEST_SLOWNESS=5 pytest_run tsan build-tsan/hotplugfs -m "data and not slow"
	unset TSAN_OPTIONS
}

part_together() {
	TEST_SLOWNESS=2 beside asan "tsan fallback"
}

# beside PARTS...: each argument is a list of parts; all lists are gone through at the same time.
beside() {
	local lane result
	for lane; do
		# shellcheck disable=SC2086 # a list
		setsid "$0" $lane ${expression:+-k "$expression"} >"$work/lane${#lanes[@]}" 2>&1 </dev/null &
		lanes+=($!)
	done
	wait
	for lane in "${!lanes[@]}"; do
		sed '$d' "$work/lane$lane"
		result=$(tail -n 1 "$work/lane$lane" |
			sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\?$/\1 \2 \4/p')
		# shellcheck disable=SC2086 # numbers
		count ${result:-0 1}
	done
	lanes=()
}

# Each is a session of its own: what is in it is told to end, and ends by itself; now and then it
# has to be told again.
end_lanes() {
	local lane seconds
	for ((seconds = 0; seconds < 60; seconds++)); do
		for lane in "${!lanes[@]}"; do
			kill -0 "${lanes[lane]}" 2>/dev/null || unset "lanes[lane]"
		done
		((${#lanes[@]})) || return
		((seconds % 15)) || kill -TERM -- "${lanes[@]/#/-}" 2>/dev/null
		sleep 1
	done
}

part_stress() {
	build gcc gcc &&
		TEST_STRESS=${TEST_STRESS:-30} TEST_SEED=${TEST_SEED:-$RANDOM} \
			pytest_run stress build-gcc/hotplugfs -k "stress or diff"
}

part_vm() {
	vm_run vm -s ${TEST_KERNELS:+"--kernels=$TEST_KERNELS"}
}

part_usb() {
	vm_run usb --kernels="${TEST_KERNELS:-trixie}" -m sample
}

# vm_run NAME [ARGUMENT...]: tests in virtual machines.
vm_run() {
	install_packages tests/vm/packages.txt || { count 0 1 0; return; }
	build gcc gcc && pytest_in tests/vm "$1" build-gcc/hotplugfs "${@:2}"
}

parts=()
while (($#)); do
	case $1 in
	-k)
		[ $# -ge 2 ] || { usage >&2; exit 2; }
		expression=$2
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		declare -F "part_$1" >/dev/null || { usage >&2; exit 2; }
		parts+=("$1")
		;;
	esac
	shift
done
((${#parts[@]})) || parts=("${default_parts[@]}")

[ "$(id -u)" -eq 0 ] || { echo "tests/run.sh: must be root: it makes devices and mounts" >&2; exit 1; }
install_packages tests/packages.txt || count 0 1 0
for part in "${parts[@]}"; do
	say "$part"
	start=$SECONDS
	"part_$part"
	echo "-- $part: $((SECONDS - start)) s"
done

echo
if ((skipped)); then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
((failed == 0 && passed > 0))
