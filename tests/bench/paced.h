/*
 * Callers that each make one call at a time, at fixed moments and with time to think between them,
 * and how long each call took. paced.c has the command line, the clock and the figures;
 * paced_loads.c what is called.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common.h"

#define SETS 2

struct samples {
	uint64_t *ns;
	size_t count;
	size_t room;
	uint64_t longest_ns;
	const char *longest; /* name of the step */
};

struct caller {
	const struct load *load;
	int dir;	     /* what it works in */
	char *const *places; /* load root: directories below dir that are opened */
	unsigned number;
	unsigned turn; /* how often all steps have been made */
	int fd;	       /* what the last step has opened */
	char name[32]; /* of the file of this turn */
	char content[4096] __attribute__((aligned(4096)));
	struct samples samples[SETS][2]; /* [1]: of steps that sync */
	_Atomic uint64_t began_ns;	 /* of the call that it is in; 0: none */
};

/* One call, or close to it. */
struct step {
	const char *name;
	void (*call)(struct caller *caller);
	bool syncs; /* natively, too, it waits for threads of the kernel, which wait for a CPU */
};

/* The steps are made one after the other, over and over. */
struct load {
	const char *name;
	void (*prepare)(struct caller *caller); /* not measured; NULL: nothing to do */
	const struct step *steps;
	unsigned step_count;
};

/* By its name, or NULL. */
const struct load *load_find(const char *name);
