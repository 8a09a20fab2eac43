/* Mounts that driver programs serve: the steps that a job takes beyond its child. */
#include <fcntl.h>
#include <stdio.h>

#include "base/log.h"
#include "staging/jobs_internal.h"

struct program *served_find(struct staging *staging, uint32_t id)
{
	list_for_each (it, &staging->programs) {
		struct program *program = CONTAINER_OF(it, struct program, link);

		if (program->id == id)
			return program;
	}
	return NULL;
}

int job_connect(struct staging_job *job)
{
	job->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	return job->fuse_fd < 0 ? -errno : 0;
}

/* The job that waits for a program to end, or has a child at work on its mount. */
static struct staging_job *job_about(struct staging *staging, uint32_t id, bool holds)
{
	list_for_each (it, &staging->jobs) {
		struct staging_job *job = CONTAINER_OF(it, struct staging_job, link);

		if (job->id == id && job->holds == holds && job->work != STAGING_SYNC)
			return job;
	}
	return NULL;
}

/* The connection is gone: the program has ended, and its end tells why. */
static bool is_end(int err)
{
	return err == -ENOTCONN || err == -ECONNABORTED;
}

/* How it ended is part of the result. */
static void job_conclude(struct staging_job *job, struct program *program)
{
	struct staging_result result = job->held;

	if (job->mounts) {
		if (is_end(result.err))
			result.err = -EIO;
		if (!*result.reason)
			program_fate(program, result.reason);
		program_free(program);
		result.root_fd = -EBADF;
		job_undo(job, &result);
		return;
	}
	job->held.root_fd = -EBADF;
	if (result.err == 0 && job->request.work == STAGING_UMOUNT &&
	    !program_ended_well(program)) {
		result.err = -EIO;
		program_fate(program, result.reason);
	}
	program_free(program);
	job_finish(job, &result);
}

void served_settle(struct staging *staging, struct program *program)
{
	struct staging_job *job = job_about(staging, program->id, true);
	uint32_t id = program->id;
	char fate[LIMIT_REASON];
	bool serving = program->serving;

	if (job) {
		job_conclude(job, program);
		return;
	}
	/* the child of a job tells more, and at its end this is asked again */
	if (job_about(staging, program->id, false))
		return;
	program_fate(program, fate);
	program_free(program);
	if (serving)
		staging->died(id, fate, staging->data);
}

static void program_died(struct program *program, void *data)
{
	served_settle(data, program);
}

/* The filesystem is mounted, and waits for its program. */
static int start_serving(struct staging_job *job)
{
	struct staging *staging = job->staging;
	struct staging_request check = {.work = STAGING_CHECK, .id = job->id, .program = true};
	const struct program_order order = {
		.driver = job->request.driver,
		.dev_dir = staging->dev_dir,
		.kname = job->request.kname,
		.devnum = job->request.devnum,
		.options = job->request.options,
		.read_only = job->request.read_only,
		.fuse_fd = job->fuse_fd,
	};
	struct program *program;
	int r = program_start(staging->loop, &order, program_died, staging, &program);

	if (r < 0)
		return r;
	job->fuse_fd = close_fd(job->fuse_fd); /* from now on the connection ends with it */
	program->id = job->id;
	list_append(&staging->programs, &program->link);
	return job_ask(job, &check, -EBADF);
}

/* Tells the result when the program has ended; at once if it has. */
static bool hold(struct staging_job *job, const struct staging_result *result,
		 struct program *program)
{
	int root_fd = job->held.root_fd;

	job->holds = true;
	job->held = *result;
	if (job->held.root_fd < 0)
		job->held.root_fd = root_fd;
	if (!program->child)
		job_conclude(job, program);
	return true;
}

/* The first step of a mount is done; the second one is the program's. */
static bool mounted(struct staging_job *job, struct staging_result *result)
{
	int r;

	if (result->err < 0)
		return false;
	job->held = *result;
	result->root_fd = -EBADF;
	r = start_serving(job);
	if (r == 0)
		return true;
	result->err = r;
	(void)snprintf(result->reason, sizeof(result->reason), "cannot start %s: %s",
		       job->request.driver->program, errno_name(-r));
	job_undo(job, result);
	return true;
}

/* What it has decided itself: the kernel is to say EROFS, since some programs do not. */
static int make_read_only(struct staging_job *job, const struct program *program)
{
	struct staging_request check = {
		.work = STAGING_CHECK, .id = job->id, .program = true, .read_only = true};

	job->held.read_only = true;
	(void)snprintf(job->held.reason, sizeof(job->held.reason), "read-only: %.140s",
		       program->first_words);
	return job_ask(job, &check, -EBADF);
}

/* The program has answered, or not: then it is to end, if it has not, and says why. */
static bool checked(struct staging_job *job, struct staging_result *result)
{
	struct program *program = served_find(job->staging, job->id);

	if (!program)
		return false;
	if (result->err == 0 && !program->child)
		result->err = -EIO;
	if (result->err < 0 && !is_end(result->err)) {
		program_kill(program);
		(void)snprintf(result->reason, sizeof(result->reason), "%s: %s (%s)%s%.90s",
			       program->name, strerror(-result->err), errno_name(-result->err),
			       *program->words ? ": " : "", program->words);
	}
	if (result->err == 0 && program->read_only && !job->held.read_only) {
		result->err = make_read_only(job, program);
		if (result->err == 0)
			return true;
		program_kill(program);
	}
	if (result->err < 0)
		return hold(job, result, program);
	program->serving = true;
	result->read_only = job->held.read_only;
	result->root_fd = TAKE_FD(job->held.root_fd);
	(void)STR_COPY(result->options, job->held.options);
	(void)STR_COPY(result->reason, job->held.reason);
	return false;
}

/* It still writes out what it has. */
static bool unmounted(struct staging_job *job, struct staging_result *result)
{
	struct program *program = served_find(job->staging, job->id);

	return program && result->err == 0 ? hold(job, result, program) : false;
}

void staging_kill(struct staging *staging, uint32_t id)
{
	struct program *program = served_find(staging, id);

	if (program)
		program_kill(program);
}

bool job_goes_on(struct staging_job *job, struct staging_result *result)
{
	if (!job->request.program)
		return false;
	switch (job->work) {
	case STAGING_MOUNT:
		return mounted(job, result);
	case STAGING_CHECK:
		return checked(job, result);
	case STAGING_UMOUNT:
	case STAGING_ABANDON:
		return unmounted(job, result);
	case STAGING_SYNC:
	case STAGING_FIND:
		return false;
	}
	return false;
}
