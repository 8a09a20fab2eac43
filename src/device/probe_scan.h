/*
 * The parsing of a probe in two steps, because libblkid looks into /sys when it is given a
 * device, which the sandbox forbids, and parses only afterwards, which the sandbox is for.
 */
#pragma once

#include <blkid.h>

#include "device/probe.h"

struct probe_scan {
	const struct blockdev *dev;
	int fd;
	uint64_t size_bytes;
	blkid_probe content; /* NULL: cannot be parsed; err tells */
	blkid_probe disk;    /* for the partition table; NULL for a whole disk */
	int err;
};

/* Prepares; outside of the sandbox. fds and dev stay the caller's. Nothing is parsed yet. */
void probe_scan_init(struct probe_scan *scan, int fd, int disk_fd, const struct blockdev *dev);

/* Parses; inside the sandbox. Blocks on the device. */
void probe_scan_run(struct probe_scan *scan, struct probe_result *ret_result);

/* Frees what probe_scan_init() made; may be called twice. */
void probe_scan_done(struct probe_scan *scan);
