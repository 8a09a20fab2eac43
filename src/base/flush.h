/* Writing out a filesystem. */
#pragma once

#include "util.h"

/*
 * syncfs(2), and the disk's cache, too: of vfat, of ntfs (Linux 6.12) and of exfat (Linux 7) the
 * kernel leaves in it what it wrote, unless it is asked for an fsync(2). dir_fd: a directory, open
 * for reading. Returns 0 or -errno. Blocks on the device.
 */
int flush_filesystem(int dir_fd);

/*
 * The same where a driver program serves it: the kernel hands syncfs(2) on to no program
 * (FUSE_SYNCFS, fs/fuse/inode.c). fsync of the root directory is asked for, and, since some
 * programs write out everything for a file that is open for writing and nothing for a directory,
 * fsync of the first file that is found and can be opened so. dir_fd: the root, readable. Returns 0
 * or -errno. Blocks on the device.
 */
int flush_program(int dir_fd);
