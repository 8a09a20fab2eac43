#include "flush.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LOOK_MAX  4096 /* names looked at */
#define DEPTH_MAX 32   /* directories below one another */

/* Some filesystems have no fsync for a directory, or none while they are read-only. */
int flush_filesystem(int dir_fd)
{
	if (syncfs(dir_fd) < 0)
		return -errno;
	return fsync(dir_fd) < 0 && errno != EINVAL && errno != EROFS ? -errno : 0;
}

static int sync_file(int dir_fd, const char *name)
{
	_cleanup_close_ int fd = openat(dir_fd, name,
					O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/* Outcomes beside 0, which is "done", and -errno. */
#define NOT_FOUND 1

static int look_in(int dir_fd, unsigned *left, unsigned depth);

static int look_at(int dir_fd, const char *name, unsigned *left, unsigned depth)
{
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? NOT_FOUND : -errno;
	if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
		int sub = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		return sub < 0 ? NOT_FOUND : look_in(sub, left, depth + 1);
	}
	if (!S_ISREG(st.st_mode))
		return NOT_FOUND;
	r = sync_file(dir_fd, name);
	return r == -EACCES || r == -EPERM || r == -ENOENT ? NOT_FOUND : r;
}

/* dir_fd is taken over. */
static int look_in(int dir_fd, unsigned *left, unsigned depth)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *entry;
	int r = NOT_FOUND;

	if (!dir) {
		close_fd(dir_fd);
		return -ENOMEM;
	}
	while (r == NOT_FOUND && *left > 0 && (entry = readdir(dir))) {
		if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		--*left;
		r = look_at(dirfd(dir), entry->d_name, left, depth);
	}
	(void)closedir(dir);
	return r;
}

int flush_program(int dir_fd)
{
	unsigned left = LOOK_MAX;
	int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (again < 0)
		return -errno;
	if (fsync(again) < 0 && errno != ENOSYS && errno != EINVAL) {
		r = -errno;
		close_fd(again);
		return r;
	}
	r = look_in(again, &left, 0);
	return r == NOT_FOUND || r == -EROFS ? 0 : r;
}
