/* The messages between broker and server, over a real socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/link.h"

struct pair {
	int a;
	int b;
};

static int setup(void **state)
{
	static struct pair pair;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -1;
	pair = (struct pair){fds[0], fds[1]};
	*state = &pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	close_fd(pair->a);
	close_fd(pair->b);
	return 0;
}

static void test_short_message(void **state)
{
	struct pair *pair = *state;
	struct link_message sent = {
		.type = LINK_USE, .id = 7, .flags = LINK_USE_WRITTEN, .writers = 2, .openers = 3};
	struct link_message got;
	int fd = 0;

	assert_int_equal(link_send(pair->a, &sent, -EBADF), 0);
	assert_int_equal(link_receive(pair->b, &got, &fd), 0);
	assert_int_equal(fd, -EBADF);
	assert_int_equal(got.type, LINK_USE);
	assert_int_equal(got.id, 7);
	assert_int_equal(got.flags, LINK_USE_WRITTEN);
	assert_int_equal(got.writers, 2);
	assert_int_equal(got.openers, 3);
}

static void test_long_message(void **state)
{
	struct pair *pair = *state;
	struct link_message sent = {.type = LINK_ADD, .info.id = 9};
	struct link_message got;
	int fd;

	(void)STR_COPY(sent.info.name, "BACKUP");
	(void)STR_COPY(sent.info.options, "errors=remount-ro");
	assert_int_equal(link_send(pair->a, &sent, -EBADF), 0);
	assert_int_equal(link_receive(pair->b, &got, &fd), 0);
	assert_memory_equal(&got, &sent, sizeof(sent));
}

static void test_fd_is_passed_and_stays_the_callers(void **state)
{
	struct pair *pair = *state;
	struct link_message sent = {.type = LINK_ROOT, .id = 1};
	struct link_message got;
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int fd = -EBADF;
	struct stat here;
	struct stat there;

	assert_int_equal(link_send(pair->a, &sent, root), 0);
	assert_int_equal(link_receive(pair->b, &got, &fd), 0);
	assert_true(fd >= 0 && fd != root);
	assert_int_equal(fstat(root, &here), 0);
	assert_int_equal(fstat(fd, &there), 0);
	assert_int_equal(here.st_ino, there.st_ino);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_nothing_to_read(void **state)
{
	struct pair *pair = *state;
	struct link_message got;
	int fd;

	assert_int_equal(link_receive(pair->b, &got, &fd), -EAGAIN);
}

static void test_other_end_gone(void **state)
{
	struct pair *pair = *state;
	struct link_message message = {.type = LINK_QUIT};
	int fd;

	pair->a = close_fd(pair->a);
	assert_int_equal(link_receive(pair->b, &message, &fd), -EPIPE);
	message.type = LINK_QUIT;
	assert_int_equal(link_send(pair->b, &message, -EBADF), -EPIPE);
}

static void test_damaged_packets(void **state)
{
	struct pair *pair = *state;
	struct link_message add = {.type = LINK_ADD};
	char large[sizeof(struct link_message) + 100] = {0};
	struct link_message got;
	int fd;

	assert_int_equal(send(pair->a, "x", 1, 0), 1);
	assert_int_equal(link_receive(pair->b, &got, &fd), -EBADMSG);
	/* an ADD cut to the size of the small messages */
	assert_true(send(pair->a, &add, offsetof(struct link_message, info), 0) > 0);
	assert_int_equal(link_receive(pair->b, &got, &fd), -EBADMSG);
	assert_true(send(pair->a, large, sizeof(large), 0) > 0);
	assert_int_equal(link_receive(pair->b, &got, &fd), -EBADMSG);
}

static void test_two_fds_are_refused(void **state)
{
	struct pair *pair = *state;
	struct link_message message = {.type = LINK_ROOT};
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {&message, offsetof(struct link_message, info)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fds[2] = {pair->a, pair->a};
	int fd;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
	assert_true(sendmsg(pair->a, &msg, 0) > 0);
	assert_int_equal(link_receive(pair->b, &message, &fd), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_short_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fd_is_passed_and_stays_the_callers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_end_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_fds_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
