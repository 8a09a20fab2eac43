#include "medium.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"

#define TO(state)  (1u << MEDIUM_##state)
#define TO_MOUNTED (TO(CLEAN) | TO(BUSY) | TO(DIRTY))

static const struct {
	const char *name; /* for logs */
	const char *word; /* for users */
	unsigned next;	  /* states that may follow */
} states[MEDIUM_STATE_COUNT] = {
	[MEDIUM_NEW] = {"new", "new", TO(HIDDEN) | TO(IDLE) | TO(REMOVED)},
	[MEDIUM_HIDDEN] = {"hidden", "hidden", TO(IDLE) | TO(FAILED) | TO(REMOVED)},
	[MEDIUM_IDLE] = {"idle", "idle",
			 TO(MOUNTING) | TO(EJECTING) | TO(HIDDEN) | TO(FAILED) | TO(REMOVED)},
	[MEDIUM_MOUNTING] = {"mounting", "mounting", TO_MOUNTED | TO(FAILED) | TO(REMOVED)},
	[MEDIUM_CLEAN] = {"clean", "clean", TO_MOUNTED | TO(CLOSING) | TO(EJECTING) | TO(REMOVED)},
	[MEDIUM_BUSY] = {"busy", "busy", TO_MOUNTED | TO(EJECTING) | TO(REMOVED)},
	[MEDIUM_DIRTY] = {"dirty", "dirty", TO_MOUNTED | TO(CLOSING) | TO(EJECTING) | TO(REMOVED)},
	[MEDIUM_CLOSING] = {"closing", "clean",
			    TO_MOUNTED | TO(UNMOUNTING) | TO(EJECTING) | TO(REMOVED)},
	[MEDIUM_UNMOUNTING] = {"unmounting", "clean",
			       TO_MOUNTED | TO(IDLE) | TO(FAILED) | TO(REMOVED)},
	[MEDIUM_EJECTING] = {"ejecting", "ejecting",
			     TO_MOUNTED | TO(IDLE) | TO(HIDDEN) | TO(EJECTED) | TO(FAILED) |
				     TO(REMOVED)},
	[MEDIUM_EJECTED] = {"ejected", "ejected", TO(REMOVED)},
	[MEDIUM_FAILED] = {"failed", "failed",
			   TO(MOUNTING) | TO(EJECTING) | TO(IDLE) | TO(HIDDEN) | TO(FAILED) |
				   TO(REMOVED)},
	[MEDIUM_REMOVED] = {"removed", "removed", 0},
};

bool medium_may_become(enum medium_state from, enum medium_state to)
{
	return states[from].next & (1u << to);
}

void medium_set_state(struct medium *m, enum medium_state state)
{
	if (m->state == state)
		return;
	log_debug("%s: %s -> %s", m->dev.kname, states[m->state].name, states[state].name);
	assert(medium_may_become(m->state, state));
	m->state = state;
}

/* Written data that is not on the disk is never shown as clean. */
const char *medium_state_name(const struct medium *m)
{
	bool closing = m->state == MEDIUM_CLOSING || m->state == MEDIUM_UNMOUNTING;

	if (closing && (m->written || m->unsynced))
		return states[MEDIUM_DIRTY].word;
	return states[m->state].word;
}

bool medium_in_use(const struct medium *m)
{
	return m->state == MEDIUM_CLEAN || m->state == MEDIUM_BUSY || m->state == MEDIUM_DIRTY;
}

bool medium_is_engaged(const struct medium *m)
{
	return m->state >= MEDIUM_MOUNTING && m->state <= MEDIUM_EJECTING;
}

/* A size that changes is the same device, unless it is a partition or a medium comes or goes. */
bool medium_same_device(const struct blockdev *a, const struct blockdev *b)
{
	if (a->devnum != b->devnum || a->diskseq != b->diskseq)
		return false;
	if ((a->size_bytes == 0) != (b->size_bytes == 0))
		return false;
	if (a->partno != b->partno || a->start_sector != b->start_sector)
		return false;
	if (a->partno != 0 && a->size_bytes != b->size_bytes)
		return false;
	return streq(a->hwid, b->hwid);
}

bool medium_same_content(const struct probe_result *a, const struct probe_result *b)
{
	return streq(a->fstype, b->fstype) && streq(a->uuid, b->uuid) && streq(a->label, b->label);
}

struct medium_identity medium_identity(const struct medium *m)
{
	struct medium_identity identity;

	(void)snprintf(identity.text, sizeof(identity.text), "%s %s", m->probe.uuid, m->dev.hwid);
	return identity;
}

enum medium_state medium_mounted_state(const struct medium *m)
{
	if (m->writers > 0)
		return MEDIUM_BUSY;
	return m->written || m->unsynced ? MEDIUM_DIRTY : MEDIUM_CLEAN;
}

const char *medium_error_text(int err)
{
	return err == -ETIMEDOUT ? "the device does not answer" : strerror(-err);
}

void medium_set_reason(struct medium *m, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(m->reason, sizeof(m->reason), fmt, args);
	va_end(args);
}
