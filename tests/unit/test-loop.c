/* The event loop: descriptors, timers, signals and children, and removing them in callbacks. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/loop.h"

struct world {
	struct loop *loop;
	struct loop_timer *guard; /* ends a test that would hang */
	struct loop_timer *timers[8];
	struct loop_fd *sources[2];
	int pipe[2];
	unsigned calls;
	char order[16];
	int status;
};

static void guard_fired(void *data)
{
	loop_quit(((struct world *)data)->loop, -ETIME);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(loop_new(&w->loop), 0);
	assert_int_equal(loop_timer_add(w->loop, 5000, guard_fired, w, &w->guard), 0);
	assert_int_equal(pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	loop_timer_remove(w->guard);
	for (size_t i = 0; i < ARRAY_SIZE(w->timers); i++)
		loop_timer_remove(w->timers[i]);
	assert_null(loop_free(w->loop));
	close(w->pipe[0]);
	close(w->pipe[1]);
	free(w);
	return 0;
}

static void quit(void *data)
{
	loop_quit(((struct world *)data)->loop, 42);
}

static void ends_with_the_code(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_timer_add(w->loop, 0, quit, w, &w->timers[0]), 0);
	assert_int_equal(loop_run(w->loop), 42);
	/* it can run again */
	w->timers[0] = loop_timer_remove(w->timers[0]);
	assert_int_equal(loop_timer_add(w->loop, 0, quit, w, &w->timers[0]), 0);
	assert_int_equal(loop_run(w->loop), 42);
}

static void note(struct world *w, char c)
{
	w->order[w->calls++] = c;
}

static void timer_a(void *data)
{
	note(data, 'a');
}

static void timer_b(void *data)
{
	note(data, 'b');
}

static void timer_c(void *data)
{
	note(data, 'c');
	quit(data);
}

static void timers_fire_in_order(void **state)
{
	struct world *w = *state;
	uint64_t start = now_ms();

	assert_int_equal(loop_timer_add(w->loop, 300, timer_c, w, &w->timers[0]), 0);
	assert_int_equal(loop_timer_add(w->loop, 200, timer_b, w, &w->timers[1]), 0);
	assert_int_equal(loop_timer_add(w->loop, 100, timer_a, w, &w->timers[2]), 0);
	assert_int_equal(loop_timer_add(w->loop, 150, timer_a, w, &w->timers[3]), 0);
	w->timers[3] = loop_timer_remove(w->timers[3]);
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "abc");
	assert_true(now_ms() - start >= 300);
}

/* Also when the loop comes late, and finds all of them due. */
static void late_timers_fire_in_order(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_timer_add(w->loop, 201, timer_c, w, &w->timers[0]), 0);
	assert_int_equal(loop_timer_add(w->loop, 1, timer_a, w, &w->timers[2]), 0);
	assert_int_equal(loop_timer_add(w->loop, 101, timer_b, w, &w->timers[1]), 0);
	assert_int_equal(usleep(210000), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "abc");
}

/* Removes itself, another that is due in the same round, and adds one. */
static void timer_mixed(void *data)
{
	struct world *w = data;

	note(w, 'm');
	w->timers[0] = loop_timer_remove(w->timers[0]);
	w->timers[1] = loop_timer_remove(w->timers[1]);
	assert_int_equal(loop_timer_add(w->loop, 1, timer_c, w, &w->timers[2]), 0);
}

static void timers_change_in_callbacks(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_timer_add(w->loop, 0, timer_mixed, w, &w->timers[0]), 0);
	assert_int_equal(loop_timer_add(w->loop, 0, timer_b, w, &w->timers[1]), 0);
	(void)usleep(2000); /* both are due */
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "mc");
	assert_null(loop_timer_remove(NULL));
}

static void fd_readable(int fd, uint32_t events, void *data)
{
	struct world *w = data;
	char c;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(fd, &c, 1), 1);
	note(w, c);
	if (c == '!')
		quit(w);
}

static void reads_fds_level_triggered(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_fd_add(w->loop, w->pipe[0], EPOLLIN, fd_readable, w, &w->sources[0]),
			 0);
	assert_int_equal(write(w->pipe[1], "xyz!", 4), 4);
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "xyz!");
	/* nothing is waited for any more */
	assert_int_equal(loop_fd_events(w->sources[0], 0), 0);
	assert_int_equal(write(w->pipe[1], "?", 1), 1);
	assert_int_equal(loop_timer_add(w->loop, 20, timer_c, w, &w->timers[0]), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "xyz!c");
	assert_null(loop_fd_remove(w->sources[0]));
	assert_null(loop_fd_remove(NULL));
}

/* Two sources have an event in one round; the first to be called removes both. */
static void fd_removes_both(int fd, uint32_t events, void *data)
{
	struct world *w = data;

	(void)fd;
	(void)events;
	note(w, 'r');
	w->sources[0] = loop_fd_remove(w->sources[0]);
	w->sources[1] = loop_fd_remove(w->sources[1]);
}

static void removed_fds_are_silent(void **state)
{
	struct world *w = *state;
	_cleanup_close_ int other = dup(w->pipe[0]);

	assert_int_equal(
		loop_fd_add(w->loop, w->pipe[0], EPOLLIN, fd_removes_both, w, &w->sources[0]), 0);
	assert_int_equal(loop_fd_add(w->loop, other, EPOLLIN, fd_removes_both, w, &w->sources[1]),
			 0);
	assert_int_equal(write(w->pipe[1], "x", 1), 1);
	assert_int_equal(loop_timer_add(w->loop, 20, timer_c, w, &w->timers[0]), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "rc");
	assert_int_equal(loop_fd_add(w->loop, -1, EPOLLIN, fd_removes_both, w, &w->sources[0]),
			 -EBADF);
}

static void child_ended(pid_t pid, int status, void *data)
{
	struct world *w = data;

	(void)pid;
	w->status = status;
	quit(w);
}

static pid_t make_child(int code)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (code < 0)
			pause();
		_exit(code);
	}
	return pid;
}

static void reaps_children(void **state)
{
	struct world *w = *state;
	struct loop_child *child = NULL;
	pid_t pid = make_child(7);

	assert_int_equal(loop_child_add(w->loop, pid, child_ended, w, &child), 0);
	assert_non_null(child);
	assert_int_equal(loop_run(w->loop), 42);
	assert_true(WIFEXITED(w->status));
	assert_int_equal(WEXITSTATUS(w->status), 7);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	pid = make_child(-1);
	assert_int_equal(loop_child_add(w->loop, pid, child_ended, w, NULL), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_true(WIFSIGNALED(w->status));
}

static void forgotten_children_are_reaped_too(void **state)
{
	struct world *w = *state;
	struct loop_child *child;
	pid_t pid = make_child(0);

	w->status = -1;
	assert_int_equal(loop_child_add(w->loop, pid, child_ended, w, &child), 0);
	assert_null(loop_child_forget(child));
	assert_int_equal(loop_timer_add(w->loop, 100, timer_c, w, &w->timers[0]), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_int_equal(w->status, -1);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	assert_null(loop_child_forget(NULL));
}

/* A loop that ends before its children leaves them to their parent, and leaks nothing. */
static void frees_with_running_children(void **state)
{
	struct world *w = *state;
	struct loop_child *child;
	pid_t pid = make_child(-1);

	assert_int_equal(loop_child_add(w->loop, pid, child_ended, w, &child), 0);
	assert_int_equal(loop_child_add(w->loop, INT32_MAX, child_ended, w, &child), -ESRCH);
	assert_int_equal(loop_timer_add(w->loop, 0, quit, w, &w->timers[0]), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void signal_seen(const struct signalfd_siginfo *info, void *data)
{
	struct world *w = data;

	assert_int_equal(info->ssi_signo, SIGUSR1);
	assert_int_equal(info->ssi_pid, getpid());
	note(w, 's');
	quit(w);
}

static void reports_signals(void **state)
{
	struct world *w = *state;
	sigset_t set, old;
	pid_t pid;
	int status;

	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &old), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	assert_int_equal(loop_signals(w->loop, &set, signal_seen, w), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(loop_run(w->loop), 42);
	assert_string_equal(w->order, "s");
	/* a child that resets is killed by it again */
	pid = fork();
	if (pid == 0) {
		loop_signals_reset();
		(void)raise(SIGUSR1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
}

/* Until the kernel's timer of this process fires; proc_pid_fdinfo(5). */
static long timer_left_s(void)
{
	char path[64];
	char line[128];
	long left = -1;

	for (int fd = 0; fd < 64 && left < 0; fd++) {
		FILE *info;

		(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		info = fopen(path, "re");
		while (info && fgets(line, sizeof(line), info))
			(void)sscanf(line, "it_value: (%ld,", &left);
		if (info)
			(void)fclose(info);
	}
	return left;
}

static void remove_then_look(int fd, uint32_t events, void *data)
{
	struct world *w = data;

	(void)fd;
	(void)events;
	if (w->calls++ == 0) {
		assert_in_range(timer_left_s(), 0, 1);
		w->timers[0] = loop_timer_remove(w->timers[0]);
	} else {
		loop_quit(w->loop, (int)timer_left_s());
	}
}

static void timer_must_not_fire(void *data)
{
	(void)data;
	fail();
}

static void removed_timers_wake_nobody(void **state)
{
	struct world *w = *state;

	assert_int_equal(loop_timer_add(w->loop, 1500, timer_must_not_fire, w, &w->timers[0]), 0);
	assert_int_equal(write(w->pipe[1], "x", 1), 1);
	assert_int_equal(
		loop_fd_add(w->loop, w->pipe[0], EPOLLIN, remove_then_look, w, &w->sources[0]), 0);
	assert_in_range(loop_run(w->loop), 2, 3600); /* only the guard's is left */
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(ends_with_the_code),
		LOOP_TEST(timers_fire_in_order),
		LOOP_TEST(late_timers_fire_in_order),
		LOOP_TEST(timers_change_in_callbacks),
		LOOP_TEST(removed_timers_wake_nobody),
		LOOP_TEST(reads_fds_level_triggered),
		LOOP_TEST(removed_fds_are_silent),
		LOOP_TEST(reaps_children),
		LOOP_TEST(forgotten_children_are_reaped_too),
		LOOP_TEST(frees_with_running_children),
		LOOP_TEST(reports_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
