#include "listen.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "limits.h"
#include "util.h"

/* The directories above a socket that were made here, each by where it ends in the path. */
struct made {
	size_t ends[LIMIT_SOCKET_PATH];
	size_t count;
};

/* The last one decides: those above may be there and not to be looked at. */
static int make_parents(const char *path, struct made *made)
{
	char above[LIMIT_SOCKET_PATH];
	int r = 0;

	for (size_t i = 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		(void)str_copy(above, i + 1, path);
		r = mkdir(above, 0755) < 0 ? -errno : 0;
		if (r == 0)
			made->ends[made->count++] = i;
	}
	return r == -EEXIST ? 0 : r;
}

static void remove_parents(const char *path, struct made *made)
{
	char above[LIMIT_SOCKET_PATH];

	while (made->count > 0) {
		(void)str_copy(above, made->ends[--made->count] + 1, path);
		(void)rmdir(above);
	}
}

/* Not told without memory: then it stays, which harms nobody. */
static void tell_last(const char *path, const struct made *made, char **ret_made)
{
	const char *slash = strrchr(path, '/');

	if (made->count > 0 && made->ends[made->count - 1] == (size_t)(slash - path))
		*ret_made = strndup(path, (size_t)(slash - path));
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

static int bind_at(const struct sockaddr_un *sun, int type)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = remove_stale(sun, type);
	if (r < 0)
		return r;
	if (bind(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0)
		return -errno;
	/* anybody may connect: who may do what is decided for each request */
	if (chmod(sun->sun_path, 0666) < 0 || listen(fd, 16) < 0) {
		r = -errno;
		(void)unlink(sun->sun_path);
		return r;
	}
	return TAKE_FD(fd);
}

int listen_unix(const char *path, int type, char **ret_made)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct made made = {.count = 0};
	int r;

	_Static_assert(sizeof(sun.sun_path) == LIMIT_SOCKET_PATH, "it is as long as a path");
	if (!STR_COPY(sun.sun_path, path))
		return -ENAMETOOLONG;
	r = make_parents(path, &made);
	if (r == 0)
		r = bind_at(&sun, type);
	if (r < 0) {
		remove_parents(path, &made);
		return r;
	}
	tell_last(path, &made, ret_made);
	return r;
}

#define PAUSE_MS 200

static void pause_ends(void *data)
{
	struct listen_pause *pause = data;

	pause->timer = loop_timer_remove(pause->timer);
	(void)loop_fd_events(pause->source, EPOLLIN);
}

int listen_accept(struct loop *loop, int fd, struct loop_fd *source, struct listen_pause *pause)
{
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = peer < 0 ? -errno : peer;

	if (r >= 0 || !is_shortage(r) || r == -EAGAIN || pause->timer)
		return r;
	pause->source = source;
	if (loop_timer_add(loop, PAUSE_MS, pause_ends, pause, &pause->timer) == 0)
		(void)loop_fd_events(source, 0);
	return r;
}

uid_t listen_peer_uid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.uid : (uid_t)-1;
}

bool listen_trusts(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}
