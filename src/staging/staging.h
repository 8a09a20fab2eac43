/*
 * The private mount namespace that holds the real filesystems, and the children that work in
 * it. Nothing of the host is mounted there, so it keeps nothing of the host busy, and nobody
 * outside can reach what is mounted in it.
 */
#pragma once

#include "base/loop.h"
#include "device/blockdev.h"
#include "staging/drivers.h"

struct staging;

struct staging_args {
	int dev_fd;	     /* directory with device nodes, borrowed, to be kept open */
	const char *dev_dir; /* the same by its name, for driver programs; copied */
	/*
	 * A driver program that served the mount id has ended although nobody wanted it to; fate is
	 * a reason for people. What it served gives errors, and is still to be unmounted.
	 */
	void (*died)(uint32_t id, const char *fate, void *data);
	void *data;
};

/*
 * Starts the keeper: a process that makes the namespace (unshare, a tmpfs as root, everything
 * else detached), lives in it and forks the children there; so nobody needs setns(2) and the
 * CAP_SYS_CHROOT that it asks for. Waits for the keeper, which touches no device. Returns 0 or
 * -errno; -EPERM without CAP_SYS_ADMIN.
 */
int staging_new(struct loop *loop, const struct staging_args *args, struct staging **ret_staging);
/*
 * The same in a namespace that another process has left (borrowed); see staging_find_start(). Needs
 * CAP_SYS_CHROOT.
 */
int staging_join(struct loop *loop, const struct staging_args *args, int namespace_fd,
		 struct staging **ret_staging);
/* The keeper, or 0. */
pid_t staging_keeper(const struct staging *staging);

/*
 * The keeper and the children that nobody waits for any more, over execve(2) of the program that
 * has started them. jobs is to be freed; all fds stay staging's.
 */
struct staging_left {
	pid_t keeper_pid; /* 0: there is none */
	int keeper_fd;
	struct staging_left_job {
		uint32_t id;
		uint32_t work; /* enum staging_work */
		int sock;
		int pidfd;    /* -EBADF: it has not told */
		bool expired; /* its deadline has passed */
	} * jobs;
	size_t job_count;
};
/* What the next program has to agree on with the keeper: a line of text. Pure. */
void staging_protocol(char *ret_text, size_t size);
/* Whether somebody waits for a child. */
bool staging_busy(const struct staging *staging);
/* Whether a driver program serves a mount: it cannot be left to the next program. */
bool staging_serves(const struct staging *staging);
/* Returns 0 or -ENOMEM. */
int staging_leave(const struct staging *staging, struct staging_left *ret_left);
/* Instead of staging_new(). Takes the fds over if it succeeds. Returns 0 or -errno. */
int staging_take(struct loop *loop, const struct staging_args *args,
		 const struct staging_left *left, struct staging **ret_staging);

/*
 * Kills the keeper; what is still mounted goes with the namespace. fn of running jobs is not
 * called any more. Accepts NULL, returns NULL.
 */
struct staging *staging_free(struct staging *staging);

/* What to mount. id names the mount point and must not be in use. */
struct staging_mount {
	uint32_t id;
	const struct blockdev *dev;
	const struct driver *driver;
	const char *options;
	bool read_only;
};

/*
 * root_fd: that which the mount's result gave, or -EBADF. It is taken over if the start succeeds,
 * and is not to be closed before: without the keeper that has the mount, it would be unmounted by
 * that.
 */
struct staging_umount {
	uint32_t id;
	bool force;
	int root_fd;
	const struct blockdev *dev; /* borrowed for the call; NULL: its cache is left alone */
};

struct staging_abandon {
	uint32_t id;
	bool shutdown;
	int root_fd; /* as above */
};

/*
 * root_fd: of the mounted root, O_PATH|O_DIRECTORY, now the callee's to close. With a mount that
 * succeeded, and with an unmount that failed with -EBUSY: go on with it. Else -EBADF.
 */
struct staging_result {
	int err; /* 0 or negative errno; -EBUSY: in use by somebody else; -ETIMEDOUT */
	int root_fd;
	bool read_only;		     /* how it was mounted in the end */
	char reason[LIMIT_REASON];   /* for people, also when it became read-only; "" if all is well
				      */
	char options[LIMIT_OPTIONS]; /* as given to the kernel */
	/* Space, as the filesystem tells it: after mount, after sync, before unmount; else 0. */
	uint64_t total_bytes;
	uint64_t free_bytes;
	uint32_t block_size;
};

/* Called once from the loop, never from within the starting function. */
typedef void (*staging_done_fn)(const struct staging_result *result, void *data);

/*
 * Each of these starts one child. At the deadline the child is killed and fn gets -ETIMEDOUT,
 * also when the child cannot die. They return 0 or -errno and never block on the device; mount
 * and sync return -ETIMEDOUT as long as an earlier child for the same id, that nobody waits for,
 * has not ended, so that children do not pile up; umount without force, as long as an earlier
 * unmount has not. A mount is undone when nobody waits for its result any more, or when that was
 * lost; it is told after that. ret_job may be NULL.
 *
 * mount:  proves exclusive use by an O_EXCL open, then fsopen/fsmount (mount(2) where the new
 *         calls are missing); retries read-only where that may help. With a driver that is a
 *         program: a FUSE mount, then the program is started, and it is waited for its first
 *         answer.
 * umount: not lazy: -EBUSY when something still uses it. force: what is still open fails
 *         from now on where the filesystem can be shut down, and the unmount is lazy. What is
 *         not mounted (any more) is unmounted. Then the cache of the disk is emptied, but not
 *         with force. A program is waited for, since it still writes: -EIO when it fails; at
 *         the deadline it is killed.
 * sync:   syncfs(2) and the disk's cache, or what comes close to it with a program.
 */
struct staging_job;
int staging_mount_start(struct staging *staging, const struct staging_mount *what,
			uint64_t deadline_ms, staging_done_fn fn, void *data,
			struct staging_job **ret_job);
int staging_umount_start(struct staging *staging, const struct staging_umount *what,
			 uint64_t deadline_ms, staging_done_fn fn, void *data,
			 struct staging_job **ret_job);
int staging_sync_start(struct staging *staging, uint32_t id, uint64_t deadline_ms,
		       staging_done_fn fn, void *data, struct staging_job **ret_job);
/*
 * What is mounted for this id: -ENOENT if nothing is; else root_fd, read_only and the space. If it
 * is not waited for, it is unmounted. What a program served is never found, since the program has
 * ended with its daemon: it is taken away.
 */
int staging_find_start(struct staging *staging, uint32_t id, bool program, uint64_t deadline_ms,
		       staging_done_fn fn, void *data, struct staging_job **ret_job);
/*
 * Shuts the filesystem down where it can (FS_IOC_SHUTDOWN, no flush), or kills the program, then a
 * lazy unmount.
 */
int staging_abandon_start(struct staging *staging, const struct staging_abandon *what,
			  uint64_t deadline_ms, staging_done_fn fn, void *data,
			  struct staging_job **ret_job);

/*
 * Kills the program that serves a mount, if one does. What is asked of it fails from now on, and
 * died is called.
 */
void staging_kill(struct staging *staging, uint32_t id);

/* fn is not called any more; the child goes on to its deadline. Accepts NULL, returns NULL. */
struct staging_job *staging_job_forget(struct staging_job *job);
