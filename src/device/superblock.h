/*
 * How large and how full a filesystem is, from its superblock, so that statfs can answer before
 * the first mount. What is on the disk is hostile: every value is checked and bounded by the size
 * of the device.
 */
#pragma once

#include "base/util.h"

struct superblock_space {
	uint64_t total_bytes; /* 0: not a filesystem that we know */
	uint64_t free_bytes;
	uint32_t block_size; /* 0: the others are the most that it can be */
};

/*
 * Reads the space of a filesystem of the given type (as libblkid names it) on a device or image
 * of device_bytes. A superblock that does not tell, is damaged or cannot be read: all of the
 * device, free unless nothing can be written there. (With less, a program that looks whether there
 * is room would not even begin; once it has looked inside, it is told what is true.) Blocks on the
 * device.
 */
void superblock_read_space(int fd, const char *fstype, uint64_t device_bytes,
			   struct superblock_space *ret_space);
