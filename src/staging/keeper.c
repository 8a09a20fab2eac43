#include "keeper.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/loop.h"
#include "base/packet.h"
#include "base/process.h"
#include "staging/namespace.h"
#include "staging/request.h"
#include "staging/worker.h"

/*
 * The first packet gives the parent a pidfd of this process: its number alone would be of no use,
 * since nobody waits for it, and the number could be another's when the deadline passes.
 */
static int tell_started(int sock)
{
	struct staging_reply reply = {.kind = STAGING_STARTED};
	_cleanup_close_ int pidfd = process_pidfd_open(getpid());

	return pidfd < 0 ? pidfd : packet_send(sock, &reply, sizeof(reply), pidfd);
}

/* The fd that comes before a mount by a program, and before an unmount. */
static int receive_fd(int sock)
{
	char byte;
	int fd = -EBADF;
	ssize_t n = packet_receive(sock, &byte, sizeof(byte), &fd);

	if (n < 0)
		return (int)n;
	return fd < 0 ? -EBADMSG : fd;
}

/* Only when the parent has closed its own: the last one who closes it may have to wait. */
static int receive_root(int sock)
{
	char byte;
	int none = -EBADF;
	int fd = receive_fd(sock);

	(void)packet_receive(sock, &byte, sizeof(byte), &none);
	close_fd(none);
	return fd;
}

static void child_main(const struct staging_request *request, int sock, int dev_fd, pid_t keeper)
{
	struct staging_reply reply = {.kind = STAGING_DONE, .result.root_fd = -EBADF};
	struct worker_tools tools = {.dev_fd = dev_fd, .fuse_fd = -EBADF, .root_fd = -EBADF};
	int kept[] = {sock, dev_fd};

	process_keep_fds(kept, ARRAY_SIZE(kept));
	if (process_die_with(keeper) < 0 || tell_started(sock) < 0)
		_exit(1);
	if (request->program && request->work == STAGING_MOUNT)
		tools.fuse_fd = receive_fd(sock);
	if (request->root)
		tools.root_fd = receive_root(sock);
	worker_run(request, &tools, &reply.result);
	_exit(packet_send(sock, &reply, sizeof(reply), reply.result.root_fd) < 0);
}

static void fork_child(const struct staging_request *request, int sock, int dev_fd)
{
	struct staging_reply reply = {.kind = STAGING_DONE};
	pid_t keeper = getpid();
	int root = -EBADF;
	pid_t pid = fork();

	if (pid == 0)
		child_main(request, sock, dev_fd, keeper);
	if (pid > 0)
		return;
	reply.result.err = -errno;
	if (request->root && request->work == STAGING_UMOUNT && !request->force)
		root = receive_root(sock);
	(void)packet_send(sock, &reply, sizeof(reply), MAX(root, -EBADF));
	close_fd(root);
}

static void serve(int sock, int dev_fd)
{
	for (;;) {
		struct staging_request request;
		_cleanup_close_ int job = -EBADF;
		ssize_t n = packet_receive(sock, &request, sizeof(request), &job);

		if (n < 0 && n != -EBADMSG && n != -ENFILE)
			return;
		if (n == (ssize_t)sizeof(request) && job >= 0)
			fork_child(&request, job, dev_fd);
	}
}

static void keeper_main(int sock, int dev_fd, int namespace_fd, pid_t parent)
{
	int kept[] = {sock, dev_fd, namespace_fd};
	int r;

	loop_signals_reset();
	process_ignore_stop();
	process_keep_fds(kept, ARRAY_SIZE(kept));
	(void)signal(SIGCHLD, SIG_IGN); /* the kernel reaps the children */
	(void)umask(0);
	r = process_die_with(parent);
	if (r == 0)
		r = namespace_fd < 0 ? namespace_enter() : namespace_join(namespace_fd);
	close_fd(namespace_fd); /* others may keep it, we are in it */
	if (packet_send(sock, &r, sizeof(r), -EBADF) < 0 || r < 0)
		_exit(1);
	serve(sock, dev_fd);
	_exit(0);
}

int keeper_start(int dev_fd, int namespace_fd, pid_t *ret_pid, int *ret_sock)
{
	_cleanup_close_ int ours = -EBADF;
	_cleanup_close_ int theirs = -EBADF;
	pid_t parent = getpid();
	int err = -EPIPE;
	int none;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		keeper_main(theirs, dev_fd, namespace_fd, parent);
	theirs = close_fd(theirs);
	if (packet_receive(ours, &err, sizeof(err), &none) < 0 || err < 0) {
		(void)waitpid(pid, NULL, 0);
		return err < 0 ? err : -EPIPE;
	}
	*ret_pid = pid;
	*ret_sock = TAKE_FD(ours);
	return 0;
}
