/* The view without a kernel: a socket stands for /dev/fuse. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "fs/view_internal.h"

/* ---- INIT ---- */

#define UNIQUE 6

struct init_message {
	struct fuse_in_header head;
	struct fuse_init_in in;
};

static int kernel_open(int *ret_peer)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*ret_peer = pair[1];
	return pair[0];
}

static void kernel_sends(int peer, uint32_t opcode)
{
	const struct init_message message = {
		.head = {.len = sizeof(message), .opcode = opcode, .unique = UNIQUE},
		.in = {.major = FUSE_KERNEL_VERSION,
		       .minor = FUSE_KERNEL_MINOR_VERSION,
		       .flags = FUSE_ASYNC_READ},
	};

	assert_int_equal(write(peer, &message, sizeof(message)), sizeof(message));
}

/* The next message that is an answer and no notification. */
static struct fuse_out_header kernel_gets(int peer)
{
	struct fuse_out_header out = {0};
	char buf[4096];

	while (out.unique == 0) {
		ssize_t n = recv(peer, buf, sizeof(buf), MSG_DONTWAIT);

		assert_true(n >= (ssize_t)sizeof(out));
		memcpy(&out, buf, sizeof(out));
	}
	return out;
}

static void init_that_was_not_answered(void **state)
{
	char saved[STORE_SAVED_INIT] = {0};
	struct channel channel = {0};
	int peer;

	/* the server dies while it answers */
	channel.fd = kernel_open(&peer);
	kernel_sends(peer, FUSE_INIT);
	assert_int_equal(shutdown(peer, SHUT_RD), 0);
	assert_true(channel_init(&channel, saved, sizeof(saved), true) < 0);
	close_fd(channel.fd);
	close_fd(peer);

	/* the next one does not wait for another INIT */
	channel = (struct channel){.fd = kernel_open(&peer)};
	kernel_sends(peer, FUSE_LOOKUP);
	assert_int_equal(channel_init(&channel, saved, sizeof(saved), true), 0);
	assert_true(channel.restarted);
	assert_int_equal(channel.features.flags, FUSE_ASYNC_READ);
	assert_int_equal(kernel_gets(peer).unique, UNIQUE);

	/* nor does the one after that, which does not answer it again either */
	assert_int_equal(channel_init(&channel, saved, sizeof(saved), true), 0);
	assert_true(recv(peer, saved, sizeof(saved), MSG_DONTWAIT) < 0);
	close_fd(channel.fd);
	close_fd(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_that_was_not_answered),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
