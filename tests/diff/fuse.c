/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's FUSE decides before a server is asked, or never tells it. Without --beyond-fuse
 * the executors leave these cases out by the functions here; README.md names the places in the
 * kernel.
 */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SECTOR_MAX 4096 /* no disk has larger logical blocks */

static bool is_open_direct(const struct worker *w, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return !w->beyond_fuse && flags >= 0 && !(flags & O_PATH) && (flags & O_DIRECT);
}

static bool privileged(int fd)
{
	struct stat st;
	char caps[64];

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (st.st_mode & (S_ISUID | S_ISGID) ||
		fgetxattr(fd, "security.capability", caps, sizeof(caps)) > 0);
}

bool fuse_hides_memory(const struct worker *w, int fd)
{
	return is_open_direct(w, fd);
}

bool fuse_strips_first(const struct worker *w, int fd, struct result *r)
{
	bool yes = !w->beyond_fuse && privileged(fd);

	if (yes)
		res_fmt(r, " skipped=1");
	return yes;
}

int64_t fuse_write_pos(const struct worker *w, int fd, int64_t off, int rwf)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (!is_open_direct(w, fd) || !(flags & O_APPEND || rwf & RWF_APPEND) || fstat(fd, &st) < 0)
		return off;
	if (off >= 0)
		return st.st_size;
	if (off == -1)
		(void)lseek(fd, 0, SEEK_END);
	return off;
}

bool fuse_strips_write(const struct worker *w, int fd, int64_t off, size_t len, struct result *r)
{
	int64_t at = off == -1 ? lseek(fd, 0, SEEK_CUR) : off;

	if (!is_open_direct(w, fd) || ((uint64_t)at | len) % SECTOR_MAX == 0)
		return false;
	return fuse_strips_first(w, fd, r);
}

bool fuse_dir_start(const struct worker *w, int fd)
{
	struct stat st;

	if (w->beyond_fuse || fd < 0 || fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return false;
	(void)lseek(fd, 0, SEEK_SET);
	return true;
}

bool fuse_append_only(const struct worker *w, int fd, struct result *r)
{
	int flags = 0;
	bool yes = !w->beyond_fuse && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 &&
		   flags & FS_APPEND_FL;

	if (yes)
		res_fmt(r, " skipped=1");
	return yes;
}

void fuse_nothing_done(const struct worker *w, struct result *r)
{
	if (!w->beyond_fuse && r->ret < 0 && r->err == EPERM)
		r->ret = r->err = 0;
}

bool known_deleted_path(const struct worker *w, int fd, struct result *r)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;
	bool yes = !w->beyond_fuse && flags >= 0 && flags & O_PATH && fstat(fd, &st) == 0 &&
		   S_ISREG(st.st_mode) && st.st_nlink == 0;

	if (yes)
		res_fmt(r, " skipped=1");
	return yes;
}
