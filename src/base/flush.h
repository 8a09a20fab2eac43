/* Writing out a filesystem that a driver program serves. */
#pragma once

#include "util.h"

/*
 * What syncfs(2) is for other filesystems: the kernel hands that on to no program (FUSE_SYNCFS,
 * fs/fuse/inode.c). fsync of the root directory is asked for, and, since some programs write out
 * everything for a file that is open for writing and nothing for a directory, fsync of the first
 * file that is found and can be opened so. dir_fd: the root, readable. Returns 0 or -errno. Blocks
 * on the device.
 */
int flush_program(int dir_fd);
