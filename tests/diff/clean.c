/* SPDX-License-Identifier: Apache-2.0 */
/* The state before and after: an empty directory but for lost+found. */
#include "difftest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

static int wanted(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
	       strcmp(d->d_name, "lost+found") != 0;
}

/* Takes away immutable and append-only, which even root's unlink respects. */
static void clear_flags(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	int flags = 0;

	if (fd < 0)
		return;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
		flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	close(fd);
}

static int clean_names(int dirfd);

static int clean_name(int dirfd, const char *name)
{
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
		return 0;
	clear_flags(dirfd, name);
	if (unlinkat(dirfd, name, 0) == 0)
		return 0;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = clean_names(fd);
	close(fd);
	if (r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

static int clean_names(int dirfd)
{
	struct dirent **names = NULL;
	int n = scandirat(dirfd, ".", &names, wanted, NULL);
	int r = n < 0 ? -errno : 0;

	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = clean_name(dirfd, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return r;
}

int clean_needed(const char *dir)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, wanted, NULL);

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return n > 0;
}

int clean_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = clean_names(fd);
	close(fd);
	return r;
}

int clean_top(const char *dir)
{
	static char list[65536];
	ssize_t n;

	clear_flags(AT_FDCWD, dir);
	if (chown(dir, 0, 0) < 0 || chmod(dir, 0777) < 0 || utimensat(AT_FDCWD, dir, NULL, 0) < 0)
		return -errno;
	n = listxattr(dir, list, sizeof(list));
	/* Removing an ACL may take a second name for it along. */
	for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1)
		if (removexattr(dir, p) < 0 && errno != ENODATA)
			return -errno;
	return 0;
}
