#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the guest. Its root becomes the machine's own, read-only, under a layer in
# memory; then the agent takes over. On the kernel's command line: top=CHECKOUT modules=DIRECTORY.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
for module in /*.ko; do
	$bb insmod "$module"
done
for word in $($bb cat /proc/cmdline); do
	case $word in
	top=*) top=${word#top=} ;;
	modules=*) modules=${word#modules=} ;;
	esac
done

$bb mount -t tmpfs -o size=75% over /over
$bb mkdir /over/lower /over/upper /over/work
$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro machine /over/lower
$bb mount -t overlay -o lowerdir=/over/lower,upperdir=/over/upper,workdir=/over/work root /root
for directory in proc sys dev; do
	$bb mount --move /$directory /root/$directory
done
$bb mount -t tmpfs -o mode=755 run /root/run
$bb mkdir -p /root/run/lock /root/dev/pts /root/dev/shm /root/usr/lib/modules
$bb mount -t devpts pts /root/dev/pts
$bb mount -t tmpfs shm /root/dev/shm
$bb ln -s "$modules" /root/usr/lib/modules/
exec $bb switch_root /root /usr/bin/python3 "$top/tests/vm/guest/agent.py"
