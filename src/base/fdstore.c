#include "fdstore.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "packet.h"
#include "sandbox.h"

/* Answers are as many packets as a question has numbers: they fit into the socket's buffer. */
#define BATCH 32

static bool is_open(int fd)
{
	return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

/* One question: numbers. The answer to each is a packet with the number, and the fd beside it. */
static int answer(int sock)
{
	int numbers[BATCH];
	int none = -EBADF;
	ssize_t n = packet_receive(sock, numbers, sizeof(numbers), &none);
	int r = n < 0 ? (int)n : 0;

	close_fd(none);
	for (size_t i = 0; r == 0 && i < (size_t)n / sizeof(int); i++)
		r = packet_send(sock, &numbers[i], sizeof(int),
				is_open(numbers[i]) ? numbers[i] : -1);
	return r;
}

int fdstore_start(int sock)
{
	bool filtered;
	long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (pid != 0)
		return pid < 0 ? -errno : 0;
	(void)prctl(PR_SET_NAME, "hotplugfs-fds");
	if (sandbox_enter(SANDBOX_FDSTORE, &filtered) == 0)
		while (answer(sock) == 0)
			;
	_exit(0);
}

static int fetch_some(int sock, const int *numbers, size_t count, int *ret_fds)
{
	int r = packet_send(sock, numbers, count * sizeof(int), -1);

	for (size_t i = 0; r == 0 && i < count; i++) {
		int number;
		ssize_t n = packet_receive(sock, &number, sizeof(number), &ret_fds[i]);

		if (n >= 0)
			r = n == (ssize_t)sizeof(number) && number == numbers[i] ? 0 : -EBADMSG;
		else
			r = (int)n;
	}
	return r;
}

int fdstore_fetch(int sock, const int *numbers, size_t count, int *ret_fds)
{
	int r = 0;

	for (size_t i = 0; i < count; i++)
		ret_fds[i] = -EBADF;
	for (size_t at = 0; r == 0 && at < count; at += BATCH)
		r = fetch_some(sock, numbers + at, MIN(count - at, (size_t)BATCH), ret_fds + at);
	for (size_t i = 0; r < 0 && i < count; i++)
		ret_fds[i] = close_fd(ret_fds[i]);
	return r;
}
