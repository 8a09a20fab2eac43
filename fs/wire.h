/*
 * The FUSE protocol as we speak it: <linux/fuse.h>, and those parts of it that are younger than
 * the oldest header we build with (protocol 7.38, Debian 12). Values: include/uapi/linux/fuse.h
 * of Linux 6.18. Structures that grew are here under names of our own, in full.
 */
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include "base/util.h"

#define WIRE_STATX 52

#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#endif
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39)
#endif
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif

#define WIRE_NOTIFY_RESEND 7
/* Set in fuse_in_header.unique of a request that is sent a second time. */
#define WIRE_UNIQUE_RESEND (1ULL << 63)

struct wire_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran;
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint16_t request_timeout;
	uint16_t unused[11];
};
_Static_assert(sizeof(struct wire_init_out) == 64, "fuse_init_out of protocol 7.23 and later");

struct wire_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};
_Static_assert(sizeof(struct wire_open_out) == sizeof(struct fuse_open_out), "fuse_open_out");

struct wire_create_out {
	struct fuse_entry_out entry;
	struct wire_open_out open;
};

struct wire_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define WIRE_IOC_BACKING_OPEN  _IOW(229, 1, struct wire_backing_map)
#define WIRE_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

struct wire_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};

struct wire_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct wire_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0[1];
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct wire_sx_time atime;
	struct wire_sx_time btime;
	struct wire_sx_time ctime;
	struct wire_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t spare2[14];
};
_Static_assert(sizeof(struct wire_statx) == 256, "same layout as struct statx");

struct wire_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct wire_statx stat;
};

/* The longest time that a reply can promise; the kernel caps it by its jiffies anyway. */
#define WIRE_FOREVER_S (10ULL * 365 * 24 * 3600)
