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
#include "staging/jobs_internal.h"
#include "staging/keeper.h"

#define UNDO_DEADLINE_MS 60000
#define UNDO_RETRY_MS	 500

static void job_close(struct staging_job *job)
{
	job->source = loop_fd_remove(job->source);
	job->sock = close_fd(job->sock);
	job->pidfd = close_fd(job->pidfd);
}

static void job_free(struct staging_job *job)
{
	list_remove(&job->link);
	job_close(job);
	loop_timer_remove(job->deadline);
	loop_timer_remove(job->again);
	close_fd(job->fuse_fd);
	close_fd(job->held.root_fd);
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

/* A job that waits for a program has no child any more. */
static void job_expired(void *data)
{
	struct staging_job *job = data;
	struct program *program = served_find(job->staging, job->id);
	char reason[LIMIT_REASON] = "the device does not answer";

	job->deadline = loop_timer_remove(job->deadline);
	if (job->pidfd >= 0)
		(void)process_pidfd_kill(job->pidfd, SIGKILL);
	if (program && job->work != STAGING_SYNC) {
		program_kill(program);
		(void)snprintf(reason, sizeof(reason), "%s did not answer in time and was killed",
			       program->name);
	}
	job_fail(job, -ETIMEDOUT, reason);
}

static void undo_again(void *data)
{
	struct staging_job *job = data;

	job->again = loop_timer_remove(job->again);
	job_undo(job, &job->held);
}

/* If the child was killed in the middle, there is nothing to unmount, and that does no harm. */
void job_undo(struct staging_job *job, const struct staging_result *result)
{
	int root_fd = job->held.root_fd >= 0 ? job->held.root_fd : result->root_fd;
	const struct staging_request undo = {.work = STAGING_UMOUNT,
					     .id = job->id,
					     .force = true,
					     .program = job->request.program,
					     .root = root_fd >= 0};
	struct staging *staging = job->staging;
	struct program *program = served_find(staging, job->id);

	if (program)
		program_kill(program);
	job->fuse_fd = close_fd(job->fuse_fd);
	job->held = *result;
	job->held.root_fd = root_fd;
	job->holds = false;
	job->undoes = true;
	if (!job->deadline)
		(void)loop_timer_add(staging->loop, UNDO_DEADLINE_MS, job_expired, job,
				     &job->deadline);
	if (job_ask(job, &undo, root_fd) == 0) {
		job->held.root_fd = -EBADF;
		return;
	}
	job_close(job); /* for want of descriptors, for example, which come back */
	(void)loop_timer_add(staging->loop, UNDO_RETRY_MS, undo_again, job, &job->again);
}

void job_finish(struct staging_job *job, struct staging_result *result)
{
	struct staging *staging = job->staging;
	struct program *program;
	uint32_t id = job->id;

	list_remove(&job->link); /* whom it is told may start the next one */
	job_tell(job, result);
	job_free(job);
	program = served_find(staging, id);
	if (program && !program->child)
		served_settle(staging, program);
}

/* Whether something may be mounted that nobody will know of. */
static bool leaves_mount(const struct staging_job *job)
{
	return (job->mounts || job->work == STAGING_FIND) && (!job->fn || job->lost);
}

/* The child has answered that it is gone, or was killed before. */
static void job_undone(struct staging_job *job)
{
	struct staging_result result = job->held;

	if (job->lost)
		(void)loop_timer_add(job->staging->loop, UNDO_RETRY_MS, undo_again, job,
				     &job->again);
	else
		job_finish(job, &result);
}

/* The child's answer. What a program serves takes another step. */
static void job_done(struct staging_job *job, struct staging_result *result)
{
	job_close(job);
	if (job->undoes) {
		job->lost |= is_shortage(result->err);
		job_undone(job);
		return;
	}
	if (job->fn && job_goes_on(job, result))
		return;
	if (leaves_mount(job))
		job_undo(job, result);
	else
		job_finish(job, result);
}

/* Without a pidfd it cannot be killed, but it ends. */
static void job_started(struct staging_job *job, int pidfd)
{
	job->pidfd = pidfd;
	if (!job->deadline && pidfd >= 0)
		(void)process_pidfd_kill(pidfd, SIGKILL);
}

static void job_readable(int fd, uint32_t events, void *data)
{
	struct staging_job *job = data;
	struct staging_reply reply = {.kind = STAGING_DONE};
	_cleanup_close_ int beside = -EBADF;
	ssize_t n = packet_receive(fd, &reply, sizeof(reply), &beside);
	bool came = n == (ssize_t)sizeof(reply) || n == -ENFILE;

	if (n == -EAGAIN)
		return;
	if (came && reply.kind == STAGING_STARTED) {
		job_started(job, TAKE_FD(beside));
		return;
	}
	job->lost = n != (ssize_t)sizeof(reply);
	if (!came) {
		reply.result = (struct staging_result){.err = -EIO};
		(void)STR_COPY(reply.result.reason, "the mount helper died");
	} else if (job->lost && reply.result.err == 0) {
		reply.result.err = -ENFILE;
		(void)STR_COPY(reply.result.reason, "too many files are open");
	}
	reply.result.root_fd = TAKE_FD(beside);
	job_done(job, &reply.result);
}

static void keeper_lost(struct staging *staging)
{
	staging->keeper = loop_child_forget(staging->keeper);
	staging->keeper_fd = close_fd(staging->keeper_fd);
	log_err("the staging namespace is lost: its keeper (pid %d) was killed",
		(int)staging->keeper_pid);
}

static void keeper_ended(pid_t pid, int status, void *data)
{
	struct staging *staging = data;

	(void)pid;
	(void)status;
	staging->keeper = NULL;
	keeper_lost(staging);
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
	r = loop_child_add(staging->loop, staging->keeper_pid, keeper_ended, staging,
			   &staging->keeper);
	if (r < 0) { /* nothing is mounted in it yet */
		staging->keeper_fd = close_fd(staging->keeper_fd);
		process_kill_new(staging->keeper_pid);
	}
	return r;
}

static struct staging *staging_alloc(struct loop *loop, const struct staging_args *args)
{
	struct staging *staging = calloc(1, sizeof(*staging));

	if (!staging)
		return NULL;
	*staging = (struct staging){.loop = loop,
				    .dev_fd = args->dev_fd,
				    .dev_dir = strdup(args->dev_dir),
				    .keeper_fd = -EBADF,
				    .died = args->died,
				    .data = args->data};
	list_init(&staging->jobs);
	list_init(&staging->programs);
	return staging->dev_dir ? staging : staging_free(staging);
}

int staging_join(struct loop *loop, const struct staging_args *args, int namespace_fd,
		 struct staging **ret_staging)
{
	struct staging *staging = staging_alloc(loop, args);
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
	list_for_each_safe (it, tmp, &staging->programs)
		program_free(CONTAINER_OF(it, struct program, link));
	staging->keeper_fd = close_fd(staging->keeper_fd); /* ends it, unless it hangs */
	loop_child_forget(staging->keeper);
	free(staging->dev_dir);
	free(staging);
	return NULL;
}

int staging_new(struct loop *loop, const struct staging_args *args, struct staging **ret_staging)
{
	return staging_join(loop, args, -EBADF, ret_staging);
}

pid_t staging_keeper(const struct staging *staging)
{
	return staging->keeper ? staging->keeper_pid : 0;
}

/*
 * Whether a child for this mount point passed its deadline and has still not ended, or a program
 * that serves it no more, or what came of that is still being undone.
 */
static bool has_stuck_child(struct staging *staging, uint32_t id)
{
	list_for_each (it, &staging->jobs) {
		struct staging_job *job = CONTAINER_OF(it, struct staging_job, link);

		if (job->id == id && (!job->deadline || !job->fn))
			return true;
	}
	return false;
}

/*
 * An unmount takes the mount point away first and writes out then: another one would find nothing
 * there while the first still writes.
 */
static bool still_unmounts(struct staging *staging, uint32_t id)
{
	list_for_each (it, &staging->jobs) {
		struct staging_job *job = CONTAINER_OF(it, struct staging_job, link);

		if (job->id == id && !job->deadline && job->work == STAGING_UMOUNT)
			return true;
	}
	return false;
}

static struct staging_job *job_new(struct staging *staging, const struct staging_request *request)
{
	struct staging_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	*job = (struct staging_job){.staging = staging,
				    .request = *request,
				    .work = request->work,
				    .mounts = request->work == STAGING_MOUNT,
				    .id = request->id,
				    .sock = -EBADF,
				    .pidfd = -EBADF,
				    .fuse_fd = -EBADF,
				    .held.root_fd = -EBADF};
	list_append(&staging->jobs, &job->link);
	return job;
}

/* Another one, if the keeper was killed just now. */
static int keeper_ask(struct staging *staging, const struct staging_request *request, int theirs)
{
	int r = packet_send(staging->keeper_fd, request, sizeof(*request), theirs);

	if (r != -EPIPE)
		return r;
	keeper_lost(staging);
	r = keeper_ensure(staging, -EBADF);
	return r == 0 ? packet_send(staging->keeper_fd, request, sizeof(*request), theirs) : r;
}

/*
 * The root may be all that is left of a mount, when the keeper was killed: whoever closes it last
 * then unmounts, and waits for the device. So that is the child, in any case.
 */
static void root_given(struct staging_job *job, int root_fd)
{
	close_fd(root_fd);
	(void)packet_send(job->sock, "", 1, -EBADF);
}

int job_ask(struct staging_job *job, const struct staging_request *request, int fd)
{
	struct staging *staging = job->staging;
	_cleanup_close_ int theirs = -EBADF;
	int pair[2];
	int r = keeper_ensure(staging, -EBADF);

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	job->sock = pair[0];
	theirs = pair[1];
	job->work = request->work;
	r = loop_fd_add(staging->loop, job->sock, EPOLLIN, job_readable, job, &job->source);
	if (r == 0 && fd >= 0)
		r = packet_send(job->sock, "", 1, fd);
	if (r == 0)
		r = keeper_ask(staging, request, theirs);
	if (r == 0 && request->root)
		root_given(job, fd);
	return r;
}

/* root_fd: taken over if this succeeds; or -EBADF. */
static int job_start(struct staging *staging, const struct staging_request *request, int root_fd,
		     uint64_t deadline_ms, staging_done_fn fn, void *data,
		     struct staging_job **ret_job)
{
	struct staging_job *job = job_new(staging, request);
	int r;

	if (!job)
		return -ENOMEM;
	r = loop_timer_add(staging->loop, deadline_ms, job_expired, job, &job->deadline);
	if (r == 0 && request->program && request->work == STAGING_MOUNT)
		r = job_connect(job);
	if (r == 0)
		r = job_ask(job, request, request->root ? root_fd : job->fuse_fd);
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
		if (CONTAINER_OF(it, struct staging_job, link)->fn ||
		    CONTAINER_OF(it, struct staging_job, link)->again)
			return true;
	return false;
}

bool staging_serves(const struct staging *staging)
{
	return !list_empty(&staging->programs);
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
	const struct staging_request request = {.work = (enum staging_work)left->work,
						.id = left->id};
	struct staging_job *job;
	int r;

	if (left->work > STAGING_FIND)
		return -EBADMSG;
	job = job_new(staging, &request);
	if (!job)
		return -ENOMEM;
	job->sock = left->sock;
	job->pidfd = left->pidfd;
	r = loop_fd_add(staging->loop, job->sock, EPOLLIN, job_readable, job, &job->source);
	if (r == 0 && !left->expired)
		r = loop_timer_add(staging->loop, UNDO_DEADLINE_MS, job_expired, job,
				   &job->deadline);
	return r;
}

int staging_take(struct loop *loop, const struct staging_args *args,
		 const struct staging_left *left, struct staging **ret_staging)
{
	struct staging *staging = staging_alloc(loop, args);
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
		.program = what->driver->program,
		.driver = what->driver,
		.devnum = what->dev->devnum,
	};

	if (has_stuck_child(staging, what->id) || served_find(staging, what->id))
		return -ETIMEDOUT;
	(void)STR_COPY(request.kname, what->dev->kname);
	(void)STR_COPY(request.kernel_type, what->driver->kernel_type);
	(void)STR_COPY(request.options, what->options);
	if (what->driver->rescue)
		(void)STR_COPY(request.rescue, what->driver->rescue);
	return job_start(staging, &request, -EBADF, deadline_ms, fn, data, ret_job);
}

int staging_umount_start(struct staging *staging, const struct staging_umount *what,
			 uint64_t deadline_ms, staging_done_fn fn, void *data,
			 struct staging_job **ret_job)
{
	struct staging_request request = {.work = STAGING_UMOUNT,
					  .id = what->id,
					  .force = what->force,
					  .root = what->root_fd >= 0,
					  .program = served_find(staging, what->id)};

	if (!what->force && still_unmounts(staging, what->id))
		return -ETIMEDOUT;
	if (what->dev && !what->force && !request.program) {
		request.devnum = what->dev->devnum;
		(void)STR_COPY(request.kname, what->dev->kname);
	}
	return job_start(staging, &request, what->root_fd, deadline_ms, fn, data, ret_job);
}

int staging_sync_start(struct staging *staging, uint32_t id, uint64_t deadline_ms,
		       staging_done_fn fn, void *data, struct staging_job **ret_job)
{
	struct staging_request request = {
		.work = STAGING_SYNC, .id = id, .program = served_find(staging, id)};

	if (has_stuck_child(staging, id))
		return -ETIMEDOUT;
	return job_start(staging, &request, -EBADF, deadline_ms, fn, data, ret_job);
}

int staging_find_start(struct staging *staging, uint32_t id, bool program, uint64_t deadline_ms,
		       staging_done_fn fn, void *data, struct staging_job **ret_job)
{
	struct staging_request request = {.work = STAGING_FIND, .id = id, .program = program};

	return job_start(staging, &request, -EBADF, deadline_ms, fn, data, ret_job);
}

int staging_abandon_start(struct staging *staging, const struct staging_abandon *what,
			  uint64_t deadline_ms, staging_done_fn fn, void *data,
			  struct staging_job **ret_job)
{
	struct program *program = served_find(staging, what->id);
	struct staging_request request = {.work = STAGING_ABANDON,
					  .id = what->id,
					  .shutdown = what->shutdown && !program,
					  .root = what->root_fd >= 0,
					  .program = program};

	if (program) /* the fence: nothing more is written, and who waits for it gets an error */
		program_kill(program);
	return job_start(staging, &request, what->root_fd, deadline_ms, fn, data, ret_job);
}

struct staging_job *staging_job_forget(struct staging_job *job)
{
	if (job)
		job->fn = NULL;
	return NULL;
}
