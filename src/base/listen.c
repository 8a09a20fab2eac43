#include "listen.h"

#include <libgen.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util.h"

/* ret_made: the directory of path if this call made it, to be freed; else not touched. */
static int make_parent(const char *path, char **ret_made)
{
	_cleanup_free_ char *copy = strdup(path);
	char *above;

	if (!copy)
		return -ENOMEM;
	above = dirname(copy);
	for (char *p = above + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(above, 0755);
		*p = '/';
	}
	if (mkdir(above, 0755) < 0)
		return errno == EEXIST ? 0 : -errno;
	*ret_made = strdup(above);
	return 0;
}

/*
 * A socket that refuses connections has no listener: its daemon is dead. Anything else at this
 * path is somebody's, and stays.
 */
static int remove_stale(const struct sockaddr_un *sun, int type)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(sun->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

int listen_unix(const char *path, int type, char **ret_made)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int r;

	if (fd < 0)
		return -errno;
	if (!STR_COPY(sun.sun_path, path))
		return -ENAMETOOLONG;
	r = make_parent(path, ret_made);
	if (r == 0)
		r = remove_stale(&sun, type);
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -errno;
	/* anybody may connect: who may do what is decided for each request */
	if (chmod(path, 0666) < 0 || listen(fd, 16) < 0) {
		r = -errno;
		(void)unlink(path);
		return r;
	}
	return TAKE_FD(fd);
}
