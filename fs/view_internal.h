/* The view's own parts, for the files of fs/ only. */
#pragma once

#include "fs/channel.h"
#include "fs/dirs.h"
#include "fs/files.h"
#include "fs/medium.h"
#include "fs/nodes.h"
#include "fs/store.h"
#include "fs/view.h"

struct view {
	struct channel channel;
	struct store store;
	struct nodes nodes;
	struct files files;
	struct dirs dirs;
	atomic_bool strict;
	struct view_events events;
	atomic_int announcer;

	pthread_mutex_t media_lock; /* media, their ids, names, visibility and references */
	struct medium *media[STORE_SLOTS];
	uint64_t root_change_s;

	pthread_mutex_t work_lock; /* all below */
	unsigned idle;		   /* threads that wait in read() */
	bool stopped;
	void (*done)(int err, void *data);
	void *done_data;
};

/* Handles one request completely, up to the reply. On a worker thread. */
void view_dispatch(struct view *view, const char *buf, size_t size);
/* Handles a request that has passed the gate, and all that then follow it there. */
void view_run(struct request *req);
/* The same with nothing but errors, when there is no thread for it. */
void view_refuse(struct request *req, int err);
/* A thread more for a request that waited at the gate and runs now. */
void workers_run(struct request *req);
