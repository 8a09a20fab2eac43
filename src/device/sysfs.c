#include "device/sysfs.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

static void trim(char *text)
{
	char *start = text;
	size_t n;

	while (isspace((unsigned char)*start))
		start++;
	n = strlen(start);
	while (n > 0 && isspace((unsigned char)start[n - 1]))
		n--;
	memmove(text, start, n);
	text[n] = '\0';
}

int sysfs_failed(struct sysfs *sysfs, int err)
{
	if (sysfs->err == 0 && is_shortage(err))
		sysfs->err = err;
	return err;
}

int sysfs_read(struct sysfs *sysfs, const char *dir, const char *name, char *ret_text, size_t size)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];
	ssize_t n;

	ret_text[0] = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = openat(sysfs->fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return sysfs_failed(sysfs, -errno);
	n = read(fd, ret_text, size - 1);
	if (n < 0)
		return sysfs_failed(sysfs, -errno);
	ret_text[n] = '\0';
	trim(ret_text);
	return ret_text[0] ? 0 : -ENOENT;
}

uint64_t sysfs_read_number(struct sysfs *sysfs, const char *dir, const char *name)
{
	char text[32];

	if (sysfs_read(sysfs, dir, name, text, sizeof(text)) < 0 || text[0] == '-')
		return 0;
	return strtoull(text, NULL, 10);
}

void sysfs_read_link(struct sysfs *sysfs, const char *dir, const char *name, char *ret_text,
		     size_t size)
{
	char path[PATH_MAX];
	char target[PATH_MAX];
	const char *base;
	ssize_t n;

	ret_text[0] = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return;
	n = readlinkat(sysfs->fd, path, target, sizeof(target) - 1);
	if (n < 0) {
		(void)sysfs_failed(sysfs, -errno);
		return;
	}
	target[n] = '\0';
	base = strrchr(target, '/');
	(void)str_copy(ret_text, size, base ? base + 1 : target);
}

bool sysfs_parent(char *dir)
{
	char *slash = strrchr(dir, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return true;
}
