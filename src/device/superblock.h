/*
 * How large and how full a filesystem is, from its superblock, so that statfs can answer before
 * the first mount. What is on the disk is hostile: every value is checked and bounded by the size
 * of the device.
 */
#pragma once

#include "base/util.h"

struct superblock_space {
	uint64_t total_bytes; /* 0: not known */
	uint64_t free_bytes;
	uint32_t block_size;
};

/*
 * Reads the space of a filesystem of the given type (as libblkid names it) on a device or image
 * of device_bytes. Leaves zeros for types without such numbers, for damaged values and when the
 * device cannot be read. Blocks on the device.
 */
void superblock_read_space(int fd, const char *fstype, uint64_t device_bytes,
			   struct superblock_space *ret_space);
