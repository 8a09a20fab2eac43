#!/bin/bash
# Shows what hotplugfs does, on a disk that this script makes: plug, use without any rights,
# unplug. Run it as root on Debian. Exit 0 means that every step was checked and is so.
# Packages that are missing are installed and build/ is left; all else that it makes is removed at
# the end.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
label=HOLIDAY

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Runs a command, and shows what it says only if it fails.
quietly() {
	if ! "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		fail "$1 failed"
	fi
}

# Prints a command as a user would type it, then runs it.
show() {
	printf '$ %s\n' "$*"
	"$@"
}

install_packages() {
	local package missing=()
	for package in gcc libc6-dev meson ninja-build pkg-config libblkid-dev libudev-dev \
		libjson-c-dev libseccomp-dev libcap-ng-dev e2fsprogs mount; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
			missing+=("$package")
	done
	((${#missing[@]})) || return 0
	say "Installing ${missing[*]}"
	quietly apt-get -qq update
	DEBIAN_FRONTEND=noninteractive quietly apt-get -qq install -y --no-install-recommends \
		"${missing[@]}"
}

# Sets $hotplugfs. Builds in the checkout, or in $work where that cannot be written.
build() {
	local dir=$top/build
	if ! mkdir -p "$dir" 2>/dev/null || [ ! -w "$dir" ]; then
		dir=$work/build
	fi
	say "Building in $dir"
	quietly compile "$dir"
	hotplugfs=$dir/hotplugfs
}

compile() {
	[ -f "$1/build.ninja" ] || meson setup "$1" "$top" || return
	ninja -C "$1" hotplugfs
}

# loop_control ADD|REMOVE NUMBER: LOOP_CTL_ADD and LOOP_CTL_REMOVE of linux/loop.h.
loop_control() {
	perl -e 'open(my $c, "+<", "/dev/loop-control") or exit 1;
		ioctl($c, $ARGV[0] eq "ADD" ? 0x4C80 : 0x4C81, int($ARGV[1])) or exit 1;' "$@" \
		2>/dev/null
}

# Makes an empty drive that nobody else has: a loop device of a new number, or zram.
# Sets $kind and $disk (the kernel name).
make_drive() {
	local number
	for number in $(shuf -i 300-9999 -n 20); do
		if loop_control ADD "$number"; then
			kind=loop disk=loop$number
			break
		fi
	done
	if [ -z "$kind" ]; then
		number=$(cat /sys/class/zram-control/hot_add) || fail "neither loop nor zram is here"
		kind=zram disk=zram$number
	fi
	# Where /dev is no devtmpfs nobody makes the node.
	mkdir "$work/dev"
	mknod "$work/dev/$disk" b "$(cut -d: -f1 "/sys/block/$disk/dev")" \
		"$(cut -d: -f2 "/sys/block/$disk/dev")"
}

remove_drive() {
	[ -n "$disk" ] && [ -e "/sys/block/$disk" ] || return 0
	if [ "$kind" = loop ]; then
		[ ! -e "/sys/block/$disk/loop" ] || losetup -d "$work/dev/$disk"
		loop_control REMOVE "${disk#loop}"
	else
		echo "${disk#zram}" >/sys/class/zram-control/hot_remove
	fi
}

# The medium goes into the drive.
plug() {
	if [ "$kind" = loop ]; then
		truncate -s 64M "$work/stick.img"
		mkfs.ext4 -q -L "$label" "$work/stick.img"
		losetup "$work/dev/$disk" "$work/stick.img"
	else
		echo 64M >"/sys/block/$disk/disksize"
		mkfs.ext4 -q -L "$label" "$work/dev/$disk"
		echo change >"/sys/block/$disk/uevent"
	fi
}

# until_true SECONDS COMMAND...
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		sleep 0.05
	done
}

stop() {
	local pid=$1
	kill -TERM "$pid" 2>/dev/null || return 0
	wait "$pid" 2>/dev/null || true
}

cleanup() {
	local status=$?
	trap '' INT TERM
	trap - EXIT
	[ -z "$workload" ] || stop "$workload"
	[ -z "$daemon" ] || stop "$daemon"
	if ! until_true 10 remove_drive; then
		echo "demo: $disk could not be removed" >&2
		status=1
	fi
	[ $status = 0 ] || [ ! -f "$work/daemon.log" ] || sed 's/^/daemon: /' "$work/daemon.log" >&2
	[ -z "$made_media" ] || rmdir /media 2>/dev/null || true
	rm -rf "$work"
	exit $status
}

start_daemon() {
	if [ ! -d /media ]; then
		mkdir /media
		made_media=yes
	fi
	export HOTPLUGFS_SOCKET=$work/control.sock
	printf '$ hotplugfs mount --include %s --owner 65534:65534 --idle-timeout 1 /media &\n' "$disk"
	"$hotplugfs" mount --include "$disk" --owner 65534:65534 --idle-timeout 1 --dev "$work/dev" \
		--socket "$HOTPLUGFS_SOCKET" --state-dir "$work/state" /media \
		>"$work/daemon.log" 2>&1 &
	daemon=$!
	until_true 10 "$hotplugfs" list || fail "the daemon did not start"
}

# The workload is like a container: a mount namespace of its own that was there before, in which
# nothing arrives, and a user with no capability and no way to get one.
start_workload() {
	unshare -m --propagation private sleep infinity &
	workload=$!
	until_true 5 own_namespace || fail "the workload did not start"
}

own_namespace() {
	[ "$(readlink "/proc/$workload/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] &&
		[ "$(cat "/proc/$workload/comm")" = sleep ]
}

workload_run() {
	nsenter -t "$workload" -m setpriv --reuid 65534 --regid 65534 --clear-groups \
		--bounding-set=-all --inh-caps=-all --no-new-privs "$@"
}

# Prints and runs a command as the workload.
user() {
	printf 'nobody$ %s\n' "$*"
	workload_run "$@"
}

is_idle() { "$hotplugfs" list --json | grep -q '"state": *"idle"'; }
is_empty() { [ -z "$(workload_run ls -A /media)" ]; }

demo() {
	local media=/media/$label number

	say "The daemon shows disks in /media; a workload without any rights looks at it"
	start_daemon
	start_workload
	user grep -E 'Uid|CapEff|NoNewPrivs' /proc/self/status
	workload_run grep -qx $'CapEff:\t0000000000000000' /proc/self/status ||
		fail "the workload has capabilities"
	user ls -l /media
	is_empty || fail "/media is not empty"
	workload_run cat /proc/self/mountinfo >"$work/mounts.before"

	say "Plug in a USB stick (here: $disk)"
	plug
	show hotplugfs wait "$label" --timeout 10 || fail "$label did not appear"
	user ls -l /media
	[ "$(workload_run ls /media)" = "$label" ] || fail "/media does not show just $label"

	say "Copy a file onto it"
	head -c 3000000 /dev/urandom >"$work/photo.jpg"
	user cp "$work/photo.jpg" "$media/"
	user ls -l "$media"
	user cmp "$work/photo.jpg" "$media/photo.jpg" || fail "the copy differs"
	user df -h "$media"
	show hotplugfs list

	say "The workload's mount table is what it was, and holds no disk"
	workload_run cat /proc/self/mountinfo >"$work/mounts.after"
	user grep ' /media' /proc/self/mountinfo
	cmp "$work/mounts.before" "$work/mounts.after" || fail "the mount table changed"
	number=$(cat "/sys/block/$disk/dev")
	! grep -q " $number " "$work/mounts.after" || fail "the disk is mounted in the workload"

	say "Nobody uses it any more: it is unmounted by itself, and can be pulled"
	until_true 10 is_idle || fail "$label is not unmounted when idle"
	show hotplugfs list

	say "Unplug it"
	until_true 5 remove_drive || fail "$disk could not be unplugged"
	until_true 5 is_empty || fail "$label is still there"
	user ls -l /media
	! user ls "$media" || fail "$media is still there"
	say "All of it was checked. Good bye."
}

hotplugfs() { "$hotplugfs" "$@"; }

if [ "$(id -u)" != 0 ]; then
	fail "run it as root: it makes a disk and mounts it"
fi
if [ "${1-}" != inside ]; then
	exec unshare -m --propagation private "$0" inside
fi

kind='' disk='' daemon='' workload='' made_media=''
work=$(mktemp -d)
chmod 755 "$work"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
install_packages
build
make_drive
demo
