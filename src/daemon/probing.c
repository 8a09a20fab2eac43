#include "context.h"

#include "base/log.h"

/* Enough to keep several slow devices from holding the others; a hub full comes in at once. */
#define PROBES_MAX 8

static void pump(struct broker *b);

static void try_again(void *data)
{
	struct medium *m = data;

	probing_request(m->broker, m); /* which removes the timer */
}

/* After a probe: another one later, if it may find more. */
static void plan_next(struct broker *b, struct medium *m, const struct probe_result *result)
{
	uint64_t delay_ms = probe_retry_ms(result, m->probe_tries);

	if (!probe_in_vain(result))
		m->probe_tries = 0;
	if (delay_ms == 0 || m->state == MEDIUM_REMOVED || m->probing != MEDIUM_PROBE_NONE)
		return;
	m->probe_tries++;
	(void)loop_timer_add(b->loop, delay_ms, try_again, m, &m->probe_timer);
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

void probing_go_on(struct broker *b)
{
	if (b->phase != BROKER_ENDING)
		pump(b);
}

bool probing_quiet(const struct broker *b)
{
	return b->probes_running == 0 && list_empty(&b->probe_queue);
}
