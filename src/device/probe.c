#include "device/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "base/process.h"
#include "base/sandbox.h"
#include "device/probe_node.h"
#include "device/probe_scan.h"

struct probe {
	struct loop_child *child; /* only to be reaped */
	struct loop_fd *answer;
	struct loop_timer *timer;
	pid_t pid;
	int answer_fd;
	probe_done_fn fn;
	void *data;
};

static void child_probe(int dev_fd, const struct blockdev *dev, struct probe_result *ret_result)
{
	_cleanup_(probe_scan_done) struct probe_scan scan = {0};
	_cleanup_close_ int fd = probe_node_open(dev_fd, dev->kname, dev->devnum);
	_cleanup_close_ int disk_fd = -EBADF;
	bool filtered;
	int r;

	if (fd >= 0 && dev->partno != 0)
		disk_fd = probe_node_open(dev_fd, dev->disk, dev->disk_devnum);
	if (fd >= 0)
		probe_scan_init(&scan, fd, disk_fd, dev);
	else
		scan.err = fd;
	r = sandbox_enter(SANDBOX_PROBE, &filtered);
	if (r < 0) { /* rather no answer than hostile data in a process with all rights */
		*ret_result = (struct probe_result){.outcome = PROBE_ERROR, .err = r};
		return;
	}
	probe_scan_run(&scan, ret_result);
}

static _Noreturn void child_main(int dev_fd, const struct blockdev *dev, int answer_fd,
				 pid_t parent)
{
	static const struct rlimit no_core = {0, 0};
	struct probe_result result;
	int keep[] = {dev_fd, answer_fd};

	loop_signals_reset();
	process_ignore_stop();
	process_keep_fds(keep, ARRAY_SIZE(keep));
	if (process_die_with(parent) < 0)
		_exit(1);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	child_probe(dev_fd, dev, &result);
	_exit(write(answer_fd, &result, sizeof(result)) == (ssize_t)sizeof(result) ? 0 : 1);
}

static void terminate(char *text, size_t size)
{
	text[size - 1] = '\0';
}

/* The child parsed hostile data: its answer is believed only as far as it is well-formed. */
static void read_answer(int fd, struct probe_result *ret_result)
{
	static const struct probe_result crashed = {.outcome = PROBE_CRASHED};
	struct probe_result result;

	*ret_result = crashed;
	if (read(fd, &result, sizeof(result)) != (ssize_t)sizeof(result))
		return;
	if ((unsigned)result.outcome > PROBE_ERROR || result.err > 0 ||
	    result.fs_free_bytes > result.fs_total_bytes)
		return;
	terminate(result.usage, sizeof(result.usage));
	terminate(result.fstype, sizeof(result.fstype));
	terminate(result.label, sizeof(result.label));
	terminate(result.uuid, sizeof(result.uuid));
	terminate(result.part_type, sizeof(result.part_type));
	*ret_result = result;
}

static struct probe *probe_free(struct probe *probe)
{
	loop_child_forget(probe->child);
	loop_fd_remove(probe->answer);
	loop_timer_remove(probe->timer);
	close_fd(probe->answer_fd);
	free(probe);
	return NULL;
}

static void probe_finish(struct probe *probe, const struct probe_result *result)
{
	probe_done_fn fn = probe->fn;
	void *data = probe->data;

	probe_free(probe);
	fn(result, data);
}

/* Its answer, or the lack of one, is in the pipe. */
static void child_exited(pid_t pid, int status, void *data)
{
	struct probe *probe = data;

	(void)pid;
	(void)status;
	probe->child = NULL;
}

/* Or its end without one. The child still has to close the device: nobody waits for that. */
static void answer_came(int fd, uint32_t events, void *data)
{
	struct probe *probe = data;
	struct probe_result result;

	(void)events;
	read_answer(fd, &result);
	probe_finish(probe, &result);
}

static void deadline_passed(void *data)
{
	struct probe *probe = data;
	struct probe_result result = {.outcome = PROBE_TIMEOUT};

	(void)kill(probe->pid, SIGKILL);
	probe_finish(probe, &result);
}

static int start_child(struct loop *loop, int dev_fd, const struct blockdev *dev,
		       struct probe *probe)
{
	_cleanup_close_ int write_fd = -EBADF;
	pid_t parent = getpid();
	int fds[2];
	int r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	probe->answer_fd = fds[0];
	write_fd = fds[1];
	if (fcntl(probe->answer_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	(void)sandbox_prepare(SANDBOX_PROBE); /* else the child does it, in its own time */
	probe->pid = fork();
	if (probe->pid < 0)
		return -errno;
	if (probe->pid == 0)
		child_main(dev_fd, dev, write_fd, parent);
	r = loop_child_add(loop, probe->pid, child_exited, probe, &probe->child);
	if (r < 0) {
		process_kill_new(probe->pid);
		return r;
	}
	r = loop_fd_add(loop, probe->answer_fd, EPOLLIN, answer_came, probe, &probe->answer);
	if (r < 0)
		(void)kill(probe->pid, SIGKILL);
	return r;
}

int probe_start(struct loop *loop, int dev_fd, const struct blockdev *dev, uint64_t deadline_ms,
		probe_done_fn fn, void *data, struct probe **ret_probe)
{
	struct probe *probe = malloc(sizeof(*probe));
	int r;

	if (!probe)
		return -ENOMEM;
	*probe = (struct probe){.answer_fd = -EBADF, .fn = fn, .data = data};
	r = loop_timer_add(loop, deadline_ms, deadline_passed, probe, &probe->timer);
	if (r == 0)
		r = start_child(loop, dev_fd, dev, probe);
	if (r < 0)
		probe_free(probe);
	else
		*ret_probe = probe;
	return r;
}

#define FIRST_RETRY_MS 500u

/*
 * Some disks cannot be read in the first moment after they were plugged, some take long to start,
 * and a bad contact comes and goes; nobody tells when it is over. So there are some tries more,
 * over half a minute; fewer where there was no answer, since each may leave a child that cannot be
 * killed.
 */
static unsigned retries_max(const struct probe_result *result)
{
	if (result->outcome == PROBE_TIMEOUT)
		return 2;
	if (result->outcome != PROBE_ERROR)
		return 0;
	return result->err == -EIO || is_shortage(result->err) ? 6 : 0;
}

bool probe_failed_here(const struct probe_result *result)
{
	return result->outcome == PROBE_ERROR && is_shortage(result->err);
}

bool probe_in_vain(const struct probe_result *result)
{
	return retries_max(result) > 0;
}

uint64_t probe_retry_ms(const struct probe_result *result, unsigned tries)
{
	return tries < retries_max(result) ? (uint64_t)FIRST_RETRY_MS << tries : 0;
}

struct probe *probe_cancel(struct probe *probe)
{
	if (!probe)
		return NULL;
	(void)kill(probe->pid, SIGKILL);
	return probe_free(probe);
}

struct wait {
	struct loop *loop;
	struct probe_result *ret_result;
};

static void wait_done(const struct probe_result *result, void *data)
{
	struct wait *wait = data;

	*wait->ret_result = *result;
	loop_quit(wait->loop, 0);
}

int probe_wait(int dev_fd, const struct blockdev *dev, uint64_t deadline_ms,
	       struct probe_result *ret_result)
{
	struct probe_result result = {0};
	struct wait wait = {.ret_result = &result};
	struct probe *probe;
	int r = loop_new(&wait.loop);

	if (r < 0)
		return r;
	r = probe_start(wait.loop, dev_fd, dev, deadline_ms, wait_done, &wait, &probe);
	if (r == 0)
		r = loop_run(wait.loop);
	loop_free(wait.loop);
	if (r == 0)
		*ret_result = result;
	return r;
}
