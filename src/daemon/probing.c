#include "context.h"

#include "base/log.h"

/* Enough to keep several slow devices from holding the others; a hub full comes in at once. */
#define PROBES_MAX 8

/*
 * Some disks cannot be read in the first moment after they were plugged, some take long to start,
 * and a bad contact comes and goes; nobody tells when it is over. So there are some tries more,
 * over half a minute; fewer where there was no answer, since each may leave a child that cannot be
 * killed.
 */
#define TRIES_ERROR   6
#define TRIES_TIMEOUT 2
#define FIRST_TRY_MS  500

static void pump(struct broker *b);

static void try_again(void *data)
{
	struct medium *m = data;

	m->probe_timer = NULL;
	probing_request(m->broker, m);
}

/* How many tries in vain are followed by one more. */
static unsigned tries_max(const struct probe_result *result)
{
	if (result->outcome == PROBE_TIMEOUT)
		return TRIES_TIMEOUT;
	if (result->outcome != PROBE_ERROR)
		return 0;
	switch (result->err) {
	case -EIO:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return TRIES_ERROR;
	default:
		return 0;
	}
}

/* After a probe: another one later, if it may find more. */
static void plan_next(struct broker *b, struct medium *m, const struct probe_result *result)
{
	unsigned max = tries_max(result);

	if (max == 0)
		m->probe_tries = 0;
	if (m->probe_tries >= max || m->state == MEDIUM_REMOVED || m->probing != MEDIUM_PROBE_NONE)
		return;
	(void)loop_timer_add(b->loop, FIRST_TRY_MS << m->probe_tries++, try_again, m,
			     &m->probe_timer);
}

static void finish(struct broker *b, struct medium *m, const struct probe_result *result)
{
	bool again = m->probing == MEDIUM_PROBE_AGAIN;

	m->probing = MEDIUM_PROBE_NONE;
	m->probe_job = NULL;
	log_debug("%s: probed, outcome %d, error %d", m->dev.kname, (int)result->outcome,
		  result->err);
	reconcile_probed(b, m, result);
	if (again && m->state != MEDIUM_REMOVED)
		probing_request(b, m);
	plan_next(b, m, result);
}

static void probe_ended(const struct probe_result *result, void *data)
{
	struct medium *m = data;
	struct broker *b = m->broker;

	b->probes_running--;
	finish(b, m, result);
	pump(b);
}

static void start(struct broker *b, struct medium *m)
{
	struct probe_result failed = {.outcome = PROBE_ERROR};

	m->probing = MEDIUM_PROBE_RUNNING;
	log_debug("%s: probing", m->dev.kname);
	failed.err = probe_start(b->loop, b->dev_fd, &m->dev, b->config->probe_timeout_ms,
				 probe_ended, m, &m->probe_job);
	if (failed.err < 0)
		finish(b, m, &failed);
	else
		b->probes_running++;
}

static void pump(struct broker *b)
{
	while (b->probes_running < PROBES_MAX && !list_empty(&b->probe_queue)) {
		struct medium *m = CONTAINER_OF(b->probe_queue.next, struct medium, probe_link);

		list_remove(&m->probe_link);
		start(b, m);
	}
}

void probing_request(struct broker *b, struct medium *m)
{
	m->probe_timer = loop_timer_remove(m->probe_timer);
	if (m->probing == MEDIUM_PROBE_RUNNING)
		m->probing = MEDIUM_PROBE_AGAIN;
	if (m->probing != MEDIUM_PROBE_NONE)
		return;
	m->probing = MEDIUM_PROBE_QUEUED;
	list_append(&b->probe_queue, &m->probe_link);
	pump(b);
}

void probing_cancel(struct broker *b, struct medium *m)
{
	list_remove(&m->probe_link);
	m->probe_timer = loop_timer_remove(m->probe_timer);
	if (m->probe_job)
		b->probes_running--;
	m->probe_job = probe_cancel(m->probe_job);
	m->probing = MEDIUM_PROBE_NONE;
}

bool probing_quiet(const struct broker *b)
{
	return b->probes_running == 0 && list_empty(&b->probe_queue);
}
