#include "staging.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/log.h"
#include "base/packet.h"
#include "base/process.h"
#include "staging/keeper.h"
#include "staging/request.h"

#define UNDO_DEADLINE_MS 60000

struct staging {
	struct loop *loop;
	int dev_fd;    /* borrowed */
	int keeper_fd; /* -EBADF: the keeper has died and is started anew with the next job */
	pid_t keeper_pid;
	struct loop_child *keeper;
	struct list jobs; /* of staging_job */
};

struct staging_job {
	struct staging *staging;
	struct list link;
	enum staging_work work;
	uint32_t id;
	int sock;
	int pidfd; /* of the child, once it has told */
	struct loop_fd *source;
	struct loop_timer *deadline; /* NULL: it has passed */
	staging_done_fn fn;	     /* NULL: forgotten, or the deadline has passed and was told */
	void *data;
};

static void job_free(struct staging_job *job)
{
	list_remove(&job->link);
	loop_fd_remove(job->source);
	loop_timer_remove(job->deadline);
	close_fd(job->sock);
	close_fd(job->pidfd);
	free(job);
}

/* Tells the result once; from then on the job only waits for its child. */
static void job_tell(struct staging_job *job, struct staging_result *result)
{
	staging_done_fn fn = job->fn;

	job->fn = NULL;
	if (fn)
		fn(result, job->data);
	else
		close_fd(result->root_fd);
}

static void job_fail(struct staging_job *job, int err, const char *reason)
{
	struct staging_result result = {.err = err, .root_fd = -EBADF};

	(void)STR_COPY(result.reason, reason);
	job_tell(job, &result);
}

static void job_expired(void *data)
{
	struct staging_job *job = data;

	job->deadline = loop_timer_remove(job->deadline);
	if (job->pidfd >= 0)
		(void)process_pidfd_kill(job->pidfd, SIGKILL);
	job_fail(job, -ETIMEDOUT, "the device does not answer");
}

/*
 * Nobody waits for this mount any more. If it came to be, it goes again; if the child was killed
 * in the middle, there is nothing to unmount, and that does no harm either.
 */
static void undo_late_mount(struct staging *staging, uint32_t id)
{
	(void)staging_umount_start(staging, id, true, UNDO_DEADLINE_MS, NULL, NULL, NULL);
}

static void job_done(struct staging_job *job, struct staging_result *result)
{
	struct staging *staging = job->staging;
	bool late = (job->work == STAGING_MOUNT || job->work == STAGING_FIND) && !job->fn;
	uint32_t id = job->id;

	job_tell(job, result);
	job_free(job);
	if (late)
		undo_late_mount(staging, id);
}

static void job_readable(int fd, uint32_t events, void *data)
{
	struct staging_job *job = data;
	struct staging_result died = {.err = -EIO, .root_fd = -EBADF};
	struct staging_reply reply;
	_cleanup_close_ int beside = -EBADF;
	ssize_t n = packet_receive(fd, &reply, sizeof(reply), &beside);

	if (n == -EAGAIN)
		return;
	if (n == (ssize_t)sizeof(reply) && reply.kind == STAGING_STARTED) {
		job->pidfd = TAKE_FD(beside);
		if (!job->deadline)
			(void)process_pidfd_kill(job->pidfd, SIGKILL);
		return;
	}
	if (n == (ssize_t)sizeof(reply)) {
		reply.result.root_fd = TAKE_FD(beside);
		job_done(job, &reply.result);
		return;
	}
	(void)STR_COPY(died.reason, "the mount helper died");
	job_done(job, &died);
}

static void keeper_ended(pid_t pid, int status, void *data)
{
	struct staging *staging = data;

	(void)pid;
	(void)status;
	staging->keeper = NULL;
	staging->keeper_fd = close_fd(staging->keeper_fd);
	log_err("the staging namespace is lost: its keeper (pid %d) was killed", (int)pid);
}

/* What was mounted before the keeper died is gone, except for fds that others still have. */
static int keeper_ensure(struct staging *staging, int namespace_fd)
{
	int r;

	if (staging->keeper)
		return 0;
	r = keeper_start(staging->dev_fd, namespace_fd, &staging->keeper_pid, &staging->keeper_fd);
	if (r < 0)
		return r;
	return loop_child_add(staging->loop, staging->keeper_pid, keeper_ended, staging,
			      &staging->keeper);
}

static struct staging *staging_alloc(struct loop *loop, int dev_fd)
{
	struct staging *staging = calloc(1, sizeof(*staging));

	if (!staging)
		return NULL;
	*staging = (struct staging){.loop = loop, .dev_fd = dev_fd, .keeper_fd = -EBADF};
	list_init(&staging->jobs);
	return staging;
}

int staging_join(struct loop *loop, int dev_fd, int namespace_fd, struct staging **ret_staging)
{
	struct staging *staging = staging_alloc(loop, dev_fd);
	int r;

	if (!staging)
		return -ENOMEM;
	r = keeper_ensure(staging, namespace_fd);
	if (r < 0) {
		staging_free(staging);
		return r;
	}
	*ret_staging = staging;
	return 0;
}

struct staging *staging_free(struct staging *staging)
{
	if (!staging)
		return NULL;
	list_for_each_safe (it, tmp, &staging->jobs)
		job_free(CONTAINER_OF(it, struct staging_job, link));
	staging->keeper_fd = close_fd(staging->keeper_fd); /* ends it, unless it hangs */
	loop_child_forget(staging->keeper);
	free(staging);
	return NULL;
}

int staging_new(struct loop *loop, int dev_fd, struct staging **ret_staging)
{
	return staging_join(loop, dev_fd, -EBADF, ret_staging);
}

pid_t staging_keeper(const struct staging *staging)
{
	return staging->keeper ? staging->keeper_pid : 0;
}

/* Whether a child for this mount point passed its deadline and has still not ended. */
static bool has_stuck_child(struct staging *staging, uint32_t id)
{
	list_for_each (it, &staging->jobs) {
		struct staging_job *job = CONTAINER_OF(it, struct staging_job, link);

		if (job->id == id && !job->deadline)
			return true;
	}
	return false;
}

/* sock: taken over if it succeeds. */
static struct staging_job *job_add(struct staging *staging, enum staging_work work, uint32_t id,
				   int sock)
{
	struct staging_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	*job = (struct staging_job){
		.staging = staging, .work = work, .id = id, .sock = sock, .pidfd = -EBADF};
	list_append(&staging->jobs, &job->link);
	return job;
}

static int job_new(struct staging *staging, const struct staging_request *request,
		   struct staging_job **ret_job, int *ret_theirs)
{
	struct staging_job *job;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	job = job_add(staging, request->work, request->id, pair[0]);
	if (!job) {
		close_fd(pair[0]);
		close_fd(pair[1]);
		return -ENOMEM;
	}
	*ret_job = job;
	*ret_theirs = pair[1];
	return 0;
}

static int job_watch(struct staging_job *job, uint64_t deadline_ms)
{
	struct loop *loop = job->staging->loop;
	int r = loop_fd_add(loop, job->sock, EPOLLIN, job_readable, job, &job->source);

	return r < 0 ? r : loop_timer_add(loop, deadline_ms, job_expired, job, &job->deadline);
}

static int job_start(struct staging *staging, const struct staging_request *request,
		     uint64_t deadline_ms, staging_done_fn fn, void *data,
		     struct staging_job **ret_job)
{
	_cleanup_close_ int theirs = -EBADF;
	struct staging_job *job = NULL;
	int r = keeper_ensure(staging, -EBADF);

	if (r < 0)
		return r;
	r = job_new(staging, request, &job, &theirs);
	if (r < 0)
		return r;
	r = job_watch(job, deadline_ms);
	if (r == 0)
		r = packet_send(staging->keeper_fd, request, sizeof(*request), theirs);
	if (r < 0) {
		job_free(job);
		return r;
	}
	job->fn = fn;
	job->data = data;
	if (ret_job)
		*ret_job = job;
	return 0;
}

/* ---- over execve(2) ---- */

void staging_protocol(char *ret_text, size_t size)
{
	(void)snprintf(ret_text, size, "%d:%zu:%zu", STAGING_PROTOCOL,
		       sizeof(struct staging_request), sizeof(struct staging_reply));
}

bool staging_busy(const struct staging *staging)
{
	list_for_each (it, &staging->jobs)
		if (CONTAINER_OF(it, struct staging_job, link)->fn)
			return true;
	return false;
}

int staging_leave(const struct staging *staging, struct staging_left *ret_left)
{
	struct staging_left left = {.keeper_pid = staging->keeper ? staging->keeper_pid : 0,
				    .keeper_fd = staging->keeper_fd};
	size_t count = 0;

	list_for_each (it, &staging->jobs)
		count++;
	left.jobs = calloc(count + 1, sizeof(*left.jobs));
	if (!left.jobs)
		return -ENOMEM;
	list_for_each (it, &staging->jobs) {
		const struct staging_job *job = CONTAINER_OF(it, struct staging_job, link);

		left.jobs[left.job_count++] = (struct staging_left_job){.id = job->id,
									.work = job->work,
									.sock = job->sock,
									.pidfd = job->pidfd,
									.expired = !job->deadline};
	}
	*ret_left = left;
	return 0;
}

/* What has not passed its deadline gets another one. */
static int job_take(struct staging *staging, const struct staging_left_job *left)
{
	struct staging_job *job;

	if (left->work > STAGING_FIND)
		return -EBADMSG;
	job = job_add(staging, (enum staging_work)left->work, left->id, left->sock);
	if (!job)
		return -ENOMEM;
	job->pidfd = left->pidfd;
	if (!left->expired)
		return job_watch(job, UNDO_DEADLINE_MS);
	return loop_fd_add(staging->loop, job->sock, EPOLLIN, job_readable, job, &job->source);
}

int staging_take(struct loop *loop, int dev_fd, const struct staging_left *left,
		 struct staging **ret_staging)
{
	struct staging *staging = staging_alloc(loop, dev_fd);
	int r = 0;

	if (!staging)
		return -ENOMEM;
	if (left->keeper_pid > 0) {
		staging->keeper_pid = left->keeper_pid;
		staging->keeper_fd = left->keeper_fd;
		r = loop_child_add(loop, left->keeper_pid, keeper_ended, staging, &staging->keeper);
	}
	for (size_t i = 0; r == 0 && i < left->job_count; i++)
		r = job_take(staging, &left->jobs[i]);
	if (r == 0)
		*ret_staging = staging;
	return r;
}

int staging_mount_start(struct staging *staging, const struct staging_mount *what,
			uint64_t deadline_ms, staging_done_fn fn, void *data,
			struct staging_job **ret_job)
{
	struct staging_request request = {
		.work = STAGING_MOUNT,
		.id = what->id,
		.read_only = what->read_only || what->driver->read_only || what->dev->read_only,
		.devnum = what->dev->devnum,
	};

	if (has_stuck_child(staging, what->id))
		return -ETIMEDOUT;
	(void)STR_COPY(request.kname, what->dev->kname);
	(void)STR_COPY(request.kernel_type, what->driver->kernel_type);
	(void)STR_COPY(request.options, what->options);
	if (what->driver->rescue)
		(void)STR_COPY(request.rescue, what->driver->rescue);
	return job_start(staging, &request, deadline_ms, fn, data, ret_job);
}

int staging_umount_start(struct staging *staging, uint32_t id, bool force, uint64_t deadline_ms,
			 staging_done_fn fn, void *data, struct staging_job **ret_job)
{
	struct staging_request request = {.work = STAGING_UMOUNT, .id = id, .force = force};

	return job_start(staging, &request, deadline_ms, fn, data, ret_job);
}

int staging_sync_start(struct staging *staging, uint32_t id, uint64_t deadline_ms,
		       staging_done_fn fn, void *data, struct staging_job **ret_job)
{
	struct staging_request request = {.work = STAGING_SYNC, .id = id};

	if (has_stuck_child(staging, id))
		return -ETIMEDOUT;
	return job_start(staging, &request, deadline_ms, fn, data, ret_job);
}

int staging_find_start(struct staging *staging, uint32_t id, uint64_t deadline_ms,
		       staging_done_fn fn, void *data, struct staging_job **ret_job)
{
	struct staging_request request = {.work = STAGING_FIND, .id = id};

	return job_start(staging, &request, deadline_ms, fn, data, ret_job);
}

int staging_abandon_start(struct staging *staging, uint32_t id, bool shutdown, uint64_t deadline_ms,
			  staging_done_fn fn, void *data, struct staging_job **ret_job)
{
	struct staging_request request = {.work = STAGING_ABANDON, .id = id, .shutdown = shutdown};

	return job_start(staging, &request, deadline_ms, fn, data, ret_job);
}

struct staging_job *staging_job_forget(struct staging_job *job)
{
	if (job)
		job->fn = NULL;
	return NULL;
}
