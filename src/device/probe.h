/*
 * Probing: what is on a block device. Runs in a child process without capabilities, under
 * seccomp, with a deadline, since libblkid parses hostile data and a device may hang.
 */
#pragma once

#include "base/loop.h"
#include "device/blockdev.h"

/* How it ended. */
enum probe_outcome {
	PROBE_FOUND,	  /* exactly one thing was recognised */
	PROBE_NOTHING,	  /* nothing was recognised */
	PROBE_AMBIVALENT, /* several signatures contradict each other */
	PROBE_NO_MEDIUM,  /* the drive is empty (ENOMEDIUM) */
	PROBE_ERROR,	  /* err tells: open or read failed */
	PROBE_TIMEOUT,	  /* the deadline passed and the child was killed */
	PROBE_CRASHED,	  /* the child died from a signal: a parser bug, or a trap of its sandbox */
};

struct probe_result {
	enum probe_outcome outcome;
	int err;	/* negative errno with PROBE_ERROR */
	char usage[16]; /* ID_FS_USAGE: filesystem, raid, crypto, other */
	char fstype[LIMIT_FSTYPE];
	char label[LIMIT_LABEL]; /* as stored, not sanitised, cut at LIMIT_LABEL-1 bytes */
	char uuid[LIMIT_UUID];
	char part_type[LIMIT_UUID]; /* partition type: GUID or 0x..; "" for a whole disk */
	uint64_t part_flags;
	/* Only with PROBE_NOTHING: the boot sector of exFAT looks like a table too. */
	bool has_partition_table;
	/* Space as superblock.h has it. Bytes. */
	uint64_t fs_total_bytes;
	uint64_t fs_free_bytes;
	uint32_t fs_block_size;
};

struct probe;

/*
 * Called once from the loop, never from within probe_start(). The result is borrowed; the probe
 * is gone already. Never called after probe_cancel().
 */
typedef void (*probe_done_fn)(const struct probe_result *result, void *data);

/*
 * Starts a child that opens the device's node in dev_fd (verifying that it has dev->devnum; if
 * the node is missing or another, it makes one of its own in a private place where that is
 * allowed) and probes it. deadline_ms: after it the child is killed and fn gets PROBE_TIMEOUT,
 * even if the child cannot die. Returns 0 or -errno. Does not block on the device.
 */
int probe_start(struct loop *loop, int dev_fd, const struct blockdev *dev, uint64_t deadline_ms,
		probe_done_fn fn, void *data, struct probe **ret_probe);

/* Kills it; fn is not called any more. Accepts NULL, returns NULL. */
struct probe *probe_cancel(struct probe *probe);

/* Whether it may find more when it is tried again, though nobody tells when. Pure. */
bool probe_in_vain(const struct probe_result *result);

/* Whether it could not be made for a shortage (util.h), and so says nothing of the device. Pure. */
bool probe_failed_here(const struct probe_result *result);

/* After how many milliseconds, when `tries` have been made again already; 0: not any more. Pure. */
uint64_t probe_retry_ms(const struct probe_result *result, unsigned tries);

/*
 * The same in the foreground, for `hotplugfs probe`: waits for the result. Blocks up to the
 * deadline. Returns 0 or -errno.
 */
int probe_wait(int dev_fd, const struct blockdev *dev, uint64_t deadline_ms,
	       struct probe_result *ret_result);

/*
 * The parsing itself, on an open device or image; disk_fd is the whole disk for a partition, or
 * -EBADF. Blocks on the device. Never fails: the outcome says it. For the child and for tests.
 */
void probe_fd(int fd, int disk_fd, const struct blockdev *dev, struct probe_result *ret_result);
