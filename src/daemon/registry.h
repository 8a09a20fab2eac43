/* All media that the broker knows, by id. */
#pragma once

#include "daemon/medium.h"

struct registry {
	struct medium *media[LIMIT_MEDIA + 1]; /* [0] is not used */
	uint32_t last;			       /* id given out last */
	uint32_t count;
};

/*
 * A new medium for a device, in state NEW, with the id that has been free longest.
 * Returns 0, -ENOSPC when LIMIT_MEDIA are known, or -ENOMEM.
 */
int registry_add(struct registry *registry, const struct blockdev *dev, struct medium **ret_medium);
/*
 * A medium with this id, all zero but for that: of a program that ran here before. Returns 0,
 * -EEXIST when the id is in use, -ERANGE, or -ENOMEM.
 */
int registry_restore(struct registry *registry, uint32_t id, struct medium **ret_medium);
/* Frees a medium that holds no job, timer or fd any more. */
void registry_drop(struct registry *registry, struct medium *medium);

/* NULL if there is none. */
struct medium *registry_find(struct registry *registry, uint32_t id);
/* The one of a kernel name whose device is there (not MEDIUM_REMOVED), or NULL. */
struct medium *registry_find_device(struct registry *registry, const char *kname);
/* The one that is visible under a name, or NULL. */
struct medium *registry_find_visible(struct registry *registry, const char *name);

/* All of them, by id; any of them may be dropped meanwhile. */
#define registry_for_each(m, registry)                    \
	for (uint32_t id_ = 1; id_ <= LIMIT_MEDIA; id_++) \
		for (struct medium *m = (registry)->media[id_]; m; m = NULL)
