/* The view's own parts, for the files of fs/ only. */
#pragma once

#include "fs/channel.h"
#include "fs/dirs.h"
#include "fs/files.h"
#include "fs/medium.h"
#include "fs/nodes.h"
#include "fs/store.h"
#include "fs/view.h"
#include "fs/workers.h"

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

	struct workers workers;
};

/* Handles one request completely, up to the reply. On a worker thread. */
void view_dispatch(struct view *view, const char *buf, size_t size);
/* Handles a request that has passed the gate, and all that then follow it there. */
void view_run(struct request *req);
/*
 * When there is no thread for it: answers with an error and returns the next one, which runs then,
 * or NULL. Not what nobody would hear of, a close or a write of pages: view_may_refuse().
 */
struct request *view_refuse(struct request *req, int err);
bool view_may_refuse(const struct request *req);
