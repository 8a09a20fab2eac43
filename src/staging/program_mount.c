#include "program_mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/packet.h"

#define CONNECTION "/dev/fuse" /* in the program's root */
#define FILES_MAX  64	       /* of the program, that are looked at; it has ten */

struct program_mount {
	struct loop *loop;
	int fd; /* the socket that the listener comes from; then the listener */
	struct loop_fd *source;
	int fuse_fd;
	bool told_failure; /* once: a program that was taken over may go on for ever */
	void (*done)(bool read_only, void *data);
	void *data;
};

static bool is_connection(int dir_fd, const char *name)
{
	char target[sizeof(CONNECTION)];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));

	return n == (ssize_t)strlen(CONNECTION) && memcmp(target, CONNECTION, (size_t)n) == 0;
}

/*
 * The number of the program's own connection. The options of its call tell it, too (fuse(4)), but
 * they are in its memory: what a program that was taken over has mapped there may be the disk, and
 * who reads it would wait for that.
 */
static int connection_number(uint32_t pid)
{
	const struct dirent *entry;
	int number = -ENOENT;
	char path[32];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%u/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	for (int i = 0; number < 0 && i < FILES_MAX && (entry = readdir(dir)); i++)
		if (is_connection(dirfd(dir), entry->d_name))
			number = (int)strtol(entry->d_name, NULL, 10);
	(void)closedir(dir);
	return number;
}

/* In the place of the program's own connection, which nothing is mounted on. */
static int hand_over(const struct program_mount *mount, const struct seccomp_notif *call)
{
	struct seccomp_notif_addfd place = {
		.id = call->id,
		.flags = SECCOMP_ADDFD_FLAG_SETFD,
		.srcfd = (uint32_t)mount->fuse_fd,
		.newfd_flags = O_CLOEXEC,
	};
	int r = connection_number(call->pid);

	if (r < 0)
		return r;
	place.newfd = (uint32_t)r;
	/* whose files they were: the pid might be another process's by now */
	if (seccomp_notify_id_valid(mount->fd, call->id) != 0)
		return -ESRCH;
	return ioctl(mount->fd, SECCOMP_IOCTL_NOTIF_ADDFD, &place) < 0 ? -errno : 0;
}

static void listen_no_more(struct program_mount *mount)
{
	mount->source = loop_fd_remove(mount->source);
	mount->fd = close_fd(mount->fd);
	mount->fuse_fd = close_fd(mount->fuse_fd);
}

/* The program's call of mount(2). Returns whether it has what it needs. */
static bool answer(struct program_mount *mount, struct seccomp_notif *call,
		   struct seccomp_notif_resp *reply)
{
	int r;

	if (seccomp_notify_receive(mount->fd, call) != 0)
		return false; /* it was killed meanwhile */
	r = hand_over(mount, call);
	if (r < 0 && !mount->told_failure)
		log_warning("a driver program cannot be given its connection: %s", errno_name(-r));
	mount->told_failure |= r < 0;
	if (r == 0)
		mount->done(call->data.args[3] & MS_RDONLY, mount->data);
	*reply = (struct seccomp_notif_resp){.id = call->id, .error = r < 0 ? -EPERM : 0};
	return seccomp_notify_respond(mount->fd, reply) == 0 && r == 0;
}

static void program_calls(int fd, uint32_t events, void *data)
{
	struct program_mount *mount = data;
	struct seccomp_notif_resp *reply = NULL;
	struct seccomp_notif *call = NULL;
	bool done = !(events & EPOLLIN);

	(void)fd;
	if (!done && seccomp_notify_alloc(&call, &reply) == 0)
		done = answer(mount, call, reply);
	seccomp_notify_free(call, reply);
	if (done)
		listen_no_more(mount);
}

static void listener_comes(int fd, uint32_t events, void *data)
{
	struct program_mount *mount = data;
	char byte;
	int listener;
	ssize_t n = packet_receive(fd, &byte, 1, &listener);

	(void)events;
	if (n == -EAGAIN)
		return;
	mount->source = loop_fd_remove(mount->source);
	close_fd(mount->fd);
	mount->fd = n < 0 ? -EBADF : listener;
	if (mount->fd < 0 ||
	    loop_fd_add(mount->loop, mount->fd, EPOLLIN, program_calls, mount, &mount->source) < 0)
		listen_no_more(mount);
}

int program_mount_new(struct loop *loop, int fuse_fd, void (*done)(bool read_only, void *data),
		      void *data, int *ret_listener_to, struct program_mount **ret_mount)
{
	_cleanup_close_ int theirs = -EBADF;
	struct program_mount *mount = calloc(1, sizeof(*mount));
	int pair[2];
	int r;

	if (!mount)
		return -ENOMEM;
	*mount = (struct program_mount){.loop = loop, .fd = -EBADF, .done = done, .data = data};
	mount->fuse_fd = fcntl(fuse_fd, F_DUPFD_CLOEXEC, 3);
	if (mount->fuse_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = -errno;
		program_mount_free(mount);
		return r;
	}
	mount->fd = pair[0];
	theirs = pair[1];
	r = loop_fd_add(loop, mount->fd, EPOLLIN, listener_comes, mount, &mount->source);
	if (r < 0) {
		program_mount_free(mount);
		return r;
	}
	*ret_listener_to = TAKE_FD(theirs);
	*ret_mount = mount;
	return 0;
}

struct program_mount *program_mount_free(struct program_mount *mount)
{
	if (mount)
		listen_no_more(mount);
	free(mount);
	return NULL;
}
