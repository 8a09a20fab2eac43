#include "context.h"

#include <assert.h>

#include "base/log.h"
#include "base/priority.h"

/* What a disk that comes or goes sets off has been done by then, or waits for a device. */
#define PRECEDENCE_MS 1000

/* The session is COMMAND's as well, which is no more important than other programs. */
static void give(struct broker *b, bool precedence)
{
	if (!b->args->workload)
		priority_of_session(precedence);
	if (supervisor_pid(b->server) > 0)
		priority_of_process(supervisor_pid(b->server), precedence);
}

static void set_state(struct broker *b, enum broker_precedence state)
{
	assert(b->precedence != PRECEDENCE_NEVER && state != PRECEDENCE_NEVER);
	b->precedence = state;
	log_debug("precedence: %s", state == PRECEDENCE_TAKEN ? "taken" : "rests");
	give(b, state == PRECEDENCE_TAKEN);
}

static void rest(void *data)
{
	struct broker *b = data;
	uint64_t now = now_ms();
	uint64_t left = now < b->precedence_until_ms ? b->precedence_until_ms - now : 0;

	b->precedence_timer = loop_timer_remove(b->precedence_timer);
	if (left == 0 || loop_timer_add(b->loop, left, rest, b, &b->precedence_timer) < 0)
		set_state(b, PRECEDENCE_RESTS);
}

void precedence_start(struct broker *b)
{
	int r = priority_take();

	b->precedence = r == 0 ? PRECEDENCE_RESTS : PRECEDENCE_NEVER;
	if (r < 0 && r != -EALREADY)
		log_info("names come and go later where the CPU is busy: the daemon cannot take "
			 "precedence: %s; it needs CAP_SYS_NICE, see hotplugfs doctor",
			 strerror(-r));
}

void precedence_take(struct broker *b)
{
	if (b->precedence == PRECEDENCE_NEVER)
		return;
	b->precedence_until_ms = now_ms() + PRECEDENCE_MS;
	if (b->precedence == PRECEDENCE_RESTS &&
	    loop_timer_add(b->loop, PRECEDENCE_MS, rest, b, &b->precedence_timer) == 0)
		set_state(b, PRECEDENCE_TAKEN);
}

void precedence_server_started(struct broker *b)
{
	if (b->precedence == PRECEDENCE_TAKEN)
		give(b, true);
	else
		precedence_take(b);
}
