#include "medium.h"

#include <stddef.h>

#include "base/limits.h"
#include "base/loop.h"
#include "gate_internal.h"
#include "view_internal.h"

/* How many of each class are handled at one time: see enum gate_class. */
static const unsigned class_limits[] = {
	[GATE_OTHER] = LIMIT_MEDIUM_THREADS,
	[GATE_WRITE] = LIMIT_MEDIUM_WRITES,
	[GATE_END] = LIMIT_MEDIUM_ENDS,
};

static enum gate_class class_of(const struct request *req)
{
	switch (req->head->opcode) {
	case FUSE_WRITE:
		return GATE_WRITE;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FORGET:
		return GATE_END;
	default:
		return GATE_OTHER;
	}
}

static bool has_room(const struct medium *m, enum gate_class class)
{
	return m->running_of[class] < class_limits[class];
}

/* Where the message is in the memory of a copy. What is written begins at a page (O_DIRECT). */
static size_t copy_offset(const struct request *req)
{
	_Static_assert(sizeof(*req) <= 4096 - CHANNEL_WRITE_OFFSET,
		       "it fits before what is written");
	return class_of(req) == GATE_WRITE ? 4096 - CHANNEL_WRITE_OFFSET : sizeof(*req);
}

/* A copy of a request that can outlive the reader's buffer. NULL without memory. */
static struct request *request_copy(const struct request *req)
{
	size_t offset = copy_offset(req);
	size_t align = class_of(req) == GATE_WRITE ? 4096 : _Alignof(max_align_t);
	struct request *copy;
	char *data;

	if (posix_memalign((void **)&copy, align, offset + req->head->len) != 0)
		return NULL;
	data = (char *)copy + offset;
	memcpy(data, req->head, req->head->len);
	*copy = (struct request){
		.view = req->view,
		.head = (const struct fuse_in_header *)data,
		.body = data + (req->body - (const char *)req->head),
		.body_size = req->body_size,
		.answered = req->answered,
		.allocated = true,
		.passive = req->passive,
		.made_up = req->made_up,
	};
	list_init(&copy->link);
	return copy;
}

/*
 * What an earlier server may have done to names without noting it in the node table: until these
 * have been done (again), paths may be wrong, and nothing that needs one may run.
 */
static bool repairs_names(const struct request *req)
{
	switch (req->head->opcode) {
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		return request_resent(req);
	default:
		return false;
	}
}

/* Writes cannot be refused: they may be what is left of a mapping, and nobody would know. */
static int gate_queue(struct medium *m, const struct request *req)
{
	enum gate_class class = class_of(req);
	struct request *copy;

	if (class == GATE_OTHER && m->waiting_count >= LIMIT_MEDIUM_QUEUE)
		return -EAGAIN;
	copy = request_copy(req);
	if (!copy)
		return -ENOMEM;
	copy->medium = m;
	medium_ref(m);
	if (class == GATE_END) {
		list_append(&m->ending, &copy->link);
		return 0;
	}
	list_append(&m->waiting, &copy->link);
	m->waiting_count++;
	m->repairs += repairs_names(copy);
	return 0;
}

/* It needs no name, and may be what somebody waits for who has pages or a directory locked. */
static bool is_by_handle(const struct request *req)
{
	return class_of(req) == GATE_WRITE || req->head->opcode == FUSE_READ;
}

static void gate_start(struct medium *m, struct request *req)
{
	req->medium = m;
	req->pace = pace_begin(&m->pace);
	list_append(&m->running, &req->link);
	m->running_count++;
	m->running_of[class_of(req)]++;
}

/* Under the lock, with an open gate: whether the caller may handle it at once. */
static bool may_run(const struct medium *m, const struct request *req)
{
	if (request_resent(req))
		return false; /* its reader is the only one, and must not wait for a device */
	if (m->repairs > 0 && !is_by_handle(req))
		return false;
	return has_room(m, class_of(req));
}

/* Under the lock. What ends something must not get lost, whatever the medium's state. */
static int admit_end(struct medium *m, struct request *req)
{
	if ((request_resent(req) || !has_room(m, GATE_END)) && gate_queue(m, req) == 0)
		return 1;
	gate_start(m, req);
	return 0;
}

/* Under the lock. Returns 0 to go on, 1 when it waits, or the errno to refuse it with. */
static int gate_admit(struct medium *m, struct request *req, bool opens, bool *want_mount)
{
	int r;

	if (class_of(req) == GATE_END)
		return admit_end(m, req);
	switch (m->state) {
	case GATE_FENCED:
		return m->fence_err;
	case GATE_EJECTED:
		return -ENODEV;
	case GATE_EJECTING:
		if (opens)
			return -ENODEV;
		break;
	case GATE_UNMOUNTED:
		*want_mount = true;
		break;
	case GATE_OPEN:
		if (may_run(m, req)) {
			gate_start(m, req);
			return 0;
		}
		break;
	case GATE_OPENING:
	case GATE_DRAINING:
		break;
	}
	r = gate_queue(m, req);
	if (r < 0)
		return r;
	if (*want_mount)
		m->state = GATE_OPENING;
	return 1;
}

enum gate_view gate_look(struct medium *m)
{
	enum gate_view view;

	pthread_mutex_lock(&m->lock);
	if (m->state == GATE_OPEN && has_room(m, GATE_OTHER))
		view = GATE_HAS_ROOM;
	else if (m->root_fd >= 0 || m->state == GATE_DRAINING || m->state == GATE_EJECTING)
		view = GATE_IS_BUSY;
	else
		view = GATE_IS_IDLE;
	pthread_mutex_unlock(&m->lock);
	return view;
}

bool gate_may_open(struct medium *m)
{
	bool may;

	pthread_mutex_lock(&m->lock);
	may = m->state == GATE_UNMOUNTED || m->state == GATE_OPENING || m->state == GATE_OPEN ||
	      m->state == GATE_DRAINING;
	pthread_mutex_unlock(&m->lock);
	return may;
}

/* One after another, since one may need the path that another one changes. */
static struct request *next_repair(const struct medium *m)
{
	list_for_each (it, &m->running)
		if (repairs_names(CONTAINER_OF(it, struct request, link)))
			return NULL;
	list_for_each (it, &m->waiting) {
		struct request *req = CONTAINER_OF(it, struct request, link);

		if (repairs_names(req))
			return req;
	}
	return NULL;
}

/* The first that there is room for; while names are repaired of those that need none. */
static struct request *next_waiting(const struct medium *m)
{
	list_for_each (it, &m->waiting) {
		struct request *req = CONTAINER_OF(it, struct request, link);

		if (has_room(m, class_of(req)) && (m->repairs == 0 || is_by_handle(req)))
			return req;
	}
	return NULL;
}

/* Under the lock: takes the next one out that may run. */
static struct request *take_next(struct medium *m)
{
	struct request *req = NULL;

	if (!list_empty(&m->ending) && has_room(m, GATE_END)) {
		req = CONTAINER_OF(m->ending.next, struct request, link);
		list_remove(&req->link);
		return req;
	}
	if (m->state != GATE_OPEN || list_empty(&m->waiting))
		return NULL;
	if (m->repairs > 0 && has_room(m, GATE_OTHER))
		req = next_repair(m);
	if (!req)
		req = next_waiting(m);
	if (!req)
		return NULL;
	list_remove(&req->link);
	m->waiting_count--;
	return req;
}

/* Under the lock: the next waiting request, now running, or NULL. */
static struct request *gate_next(struct medium *m)
{
	struct request *req = take_next(m);

	if (!req)
		return NULL;
	gate_start(m, req);
	req->pace.sleeps = -1; /* it may run on another thread */
	return req;
}

void gate_empty(struct medium *m, struct list *ret_waiting)
{
	while (!list_empty(&m->waiting)) {
		struct list *it = m->waiting.next;

		list_remove(it);
		list_append(ret_waiting, it);
		m->repairs -= repairs_names(CONTAINER_OF(it, struct request, link));
	}
	m->waiting_count = 0;
}

void gate_refuse_all(struct list *waiting, int err)
{
	list_for_each_safe (it, tmp, waiting) {
		struct request *req = CONTAINER_OF(it, struct request, link);

		(void)reply_error(req, err);
		medium_put(req->medium);
		free(req);
	}
}

void gate_start_waiting(struct medium *m)
{
	struct request *req;

	do {
		pthread_mutex_lock(&m->lock);
		req = gate_next(m);
		pthread_mutex_unlock(&m->lock);
		if (req)
			workers_run(req);
	} while (req);
}

/* Under the lock, of a request that runs now: whether somebody else should read meanwhile. */
static bool expects_to_wait(const struct medium *m, const struct request *req)
{
	return m->running_count > 1 || pace_is_slow(&m->pace, &req->pace);
}

/* Under the lock, of one that has ended. */
static void remember_use(struct medium *m, const struct request *req)
{
	uint64_t now = pace_end(&m->pace, &req->pace);

	if (!req->passive)
		m->last_use_ms = now / 1000;
}

enum gate_verdict gate_enter(struct medium *m, struct request *req, bool opens)
{
	bool want_mount = false;
	uint32_t id = m->facts.id;
	bool yield;
	int r;

	pthread_mutex_lock(&m->lock);
	r = gate_admit(m, req, opens, &want_mount);
	yield = r == 0 && expects_to_wait(m, req);
	pthread_mutex_unlock(&m->lock);
	if (yield)
		workers_yield(m->view);
	if (r == 0)
		return GATE_GO;
	if (r < 0) {
		(void)reply_error(req, r);
		return GATE_REFUSED;
	}
	if (want_mount)
		m->view->events.want_mount(id, m->view->events.data);
	else if (request_resent(req))
		gate_start_waiting(m);
	return GATE_WAITS;
}

struct request *gate_leave(struct medium *m, struct request *req)
{
	struct request *next;
	bool repaired;

	pthread_mutex_lock(&m->lock);
	list_remove(&req->link);
	m->running_count--;
	m->running_of[class_of(req)]--;
	remember_use(m, req);
	repaired = repairs_names(req) && --m->repairs == 0;
	next = gate_next(m);
	pthread_mutex_unlock(&m->lock);
	if (repaired) /* all that had to wait for it */
		gate_start_waiting(m);
	gate_settle(m);
	return next;
}
