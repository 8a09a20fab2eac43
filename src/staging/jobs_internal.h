/* Jobs, and the programs that they start and wait for. Internal to jobs.c and served.c. */
#pragma once

#include "base/list.h"
#include "staging/program_life.h"
#include "staging/request.h"

struct staging {
	struct loop *loop;
	int dev_fd; /* borrowed */
	char *dev_dir;
	int keeper_fd; /* -EBADF: the keeper has died and is started anew with the next job */
	pid_t keeper_pid;
	struct loop_child *keeper;
	struct list jobs;     /* of staging_job */
	struct list programs; /* of program */
	void (*died)(uint32_t id, const char *fate, void *data);
	void *data;
};

struct staging_job {
	struct staging *staging;
	struct list link;
	struct staging_request request; /* as it began */
	enum staging_work work;		/* what the child does now */
	bool mounts;
	uint32_t id;
	int sock;
	int pidfd; /* of the child, once it has told */
	struct loop_fd *source;
	struct loop_timer *deadline; /* NULL: it has passed */
	staging_done_fn fn;	     /* NULL: forgotten, or the deadline has passed and was told */
	void *data;
	int fuse_fd;		  /* of a mount by a program, until that runs */
	bool holds;		  /* the result below is told when the program has ended */
	bool lost;		  /* the last child has ended without a whole answer */
	bool undoes;		  /* what it mounted is taken away; then the result below is told */
	struct loop_timer *again; /* until that can be tried again */
	struct staging_result held; /* of a step before, root_fd is the job's */
};

/* jobs.c: tells the result and frees the job. */
void job_finish(struct staging_job *job, struct staging_result *result);
/*
 * Takes away what the job has mounted, or may have, before the result is told: the next attempt may
 * come at once, and nobody else would know of it. The job goes on until that is done. Takes over
 * result's root_fd.
 */
void job_undo(struct staging_job *job, const struct staging_result *result);
/*
 * Starts a child for the next step. fd: the connection for a mount by a program, borrowed; the root
 * for an unmount, taken over if this succeeds; else -EBADF.
 */
int job_ask(struct staging_job *job, const struct staging_request *request, int fd);

/* served.c */

/* The program that serves a mount, running or just ended; NULL: there is none. */
struct program *served_find(struct staging *staging, uint32_t id);
/* It has ended: tells whom that concerns, and frees it, unless a job is still at work on it. */
void served_settle(struct staging *staging, struct program *program);
/* Opens the connection for a mount by a program. Returns 0 or -errno. */
int job_connect(struct staging_job *job);
/*
 * A child has ended with this result. Returns whether the job goes on, since a program serves the
 * mount; the result's root_fd is then the job's.
 */
bool job_goes_on(struct staging_job *job, struct staging_result *result);
