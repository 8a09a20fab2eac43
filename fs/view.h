/*
 * The filesystem that the workload sees, for the process that runs it: the narrow door between
 * fs/ and the daemon. A medium is an id, a root fd and a few facts; the view asks for it to be
 * mounted when somebody looks inside.
 */
#pragma once

#include "base/limits.h"
#include "base/util.h"

struct view;

/* Facts of a medium; copied. The texts are the values of user.hotplugfs.* on its directory. */
struct view_medium {
	uint32_t id;
	char name[LIMIT_NAME + 1];
	bool visible;	    /* was announced before this server started */
	bool passthrough;   /* may be used for its files */
	bool program;	    /* a program serves it (FUSE), so every call may hang */
	bool stable_inodes; /* although it is a program: a file keeps its inode number */
	bool owned;	    /* every file belongs to uid:gid, whatever the disk says */
	uint32_t uid;
	uint32_t gid;
	uint64_t appeared_s; /* times of its directory until it is mounted */
	/* statfs before the first mount; total 0: not known */
	uint64_t total_bytes;
	uint64_t free_bytes;
	uint32_t block_size;
	struct view_text {
		const char *key;
		char value[LIMIT_LABEL];
	} texts[10];
	unsigned text_count;
};

/*
 * What the view tells. Called from any of its threads with no lock of ours held that the
 * functions below would take; must not block on a device.
 */
struct view_events {
	void (*want_mount)(uint32_t id, void *data);
	/*
	 * Somewhere a file was opened or closed or something was changed: view_medium_use() tells
	 * where. Not called again before that has been read, so that a copy of a thousand files
	 * is not a thousand calls.
	 */
	void (*changed)(void *data);
	/* the answer to view_medium_close(): 0 or -EBUSY */
	void (*closed)(uint32_t id, int err, void *data);
	/* the answer to view_medium_remove(): its name may be removed now */
	void (*fenced)(uint32_t id, void *data);
	void *data;
};

struct view_args {
	int fuse_fd;	 /* taken over */
	int store_fd;	 /* taken over */
	int previous_fd; /* taken over: see files_init() */
	bool passthrough;
	bool strict; /* close waits until the data is on the disk */
	struct view_events events;
};

/*
 * What a program has to agree on with the one whose store it is to use: the layout, as a line of
 * text. Pure.
 */
void view_store_layout(char *ret_text, size_t size);

struct view_features {
	bool passthrough;
	bool resend;
	bool restarted; /* INIT was done by an earlier server */
};

/*
 * Maps the store and does or replays INIT (blocks until the kernel has sent it). No thread is
 * started yet. Returns 0, -EPROTO for a kernel that is too old, or -errno.
 */
int view_new(const struct view_args *args, struct view **ret_view, struct view_features *features);

/*
 * Starts serving. done is called once, from a thread, when the connection has ended, with 0 or
 * -errno. Returns 0 or -errno.
 */
int view_start(struct view *view, void (*done)(int err, void *data), void *data);

/* The process whose mkdir() and rmdir() in the root are the daemon's announcements. */
void view_set_announcer(struct view *view, int32_t pid);

/* Whether close waits until the data is on the disk, for files opened from now on. */
void view_set_strict(struct view *view, bool strict);

/* A new medium, hidden until the announcer's mkdir unless visible is set. 0 or -errno. */
int view_medium_add(struct view *view, const struct view_medium *medium);
/* Other facts of the same medium; an unknown id is ignored. */
void view_medium_update(struct view *view, const struct view_medium *medium);
/*
 * The answer to want_mount: the root fd (taken over), or a negative errno that the waiting
 * requests get.
 */
void view_medium_root(struct view *view, uint32_t id, int root_fd, int err);

enum view_close {
	VIEW_CLOSE_IDLE,  /* only if nothing is open */
	VIEW_CLOSE_EJECT, /* the same, and new opens fail with ENODEV from now on */
	VIEW_CLOSE_FORCE, /* what is open is closed: its handles give EIO */
};
/* Stops using the filesystem once running requests have ended; events.closed tells. */
void view_medium_close(struct view *view, uint32_t id, enum view_close how);
/* After a close that was given up: opens are allowed again. */
void view_medium_reopen(struct view *view, uint32_t id);
/*
 * The fence: every request of the medium, waiting or new, ends with err from now on. When the
 * kernel has no entry of it in its cache any more, events.fenced is called; not before
 * view_start().
 */
void view_medium_remove(struct view *view, uint32_t id, int err);
/* The name is gone for good; the id may be used again. */
void view_medium_forget(struct view *view, uint32_t id);

struct view_use {
	unsigned openers; /* open files and directories */
	unsigned writers; /* those open for writing */
	bool written;	  /* something was changed since the last call */
};
/* Reads the counts. Returns whether something has changed since the last call. */
bool view_medium_use(struct view *view, uint32_t id, struct view_use *ret_use);
/* The same without a trace. Returns false for an unknown id. */
bool view_medium_peek(struct view *view, uint32_t id, struct view_use *ret_use);

/*
 * How long nothing has been done in the medium: 0 while a request runs or waits, UINT64_MAX
 * while something is open or it is not mounted.
 */
uint64_t view_medium_idle_ms(struct view *view, uint32_t id);
