/*
 * hotplugfs doctor: checks of the place that the daemon is to run in. Each check runs in a child
 * process of its own with a deadline, so that it may unshare, mount or hang. What it has found
 * when the deadline passes counts.
 */
#pragma once

#include "base/util.h"
#include "device/config.h"

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_WARN, /* works, but less */
	DOCTOR_FAIL, /* the daemon cannot do its work */
};

struct doctor_finding {
	enum doctor_verdict verdict;
	char found[600];  /* what is there */
	char advice[400]; /* what to do; "" if nothing */
};

struct doctor_check {
	const char *name;
	const char *meaning; /* what it is needed for, one sentence */
	void (*run)(const struct config *config, struct doctor_finding *finding);
};

/* By theme; each ends with a NULL name. */
extern const struct doctor_check doctor_checks_fuse[];
extern const struct doctor_check doctor_checks_rights[];
extern const struct doctor_check doctor_checks_calls[];
extern const struct doctor_check doctor_checks_devices[];
extern const struct doctor_check doctor_checks_events[];
extern const struct doctor_check doctor_checks_system[];

/* Sets a finding. advice may be NULL only if all is well. */
void doctor_found(struct doctor_finding *finding, enum doctor_verdict verdict, const char *advice,
		  const char *fmt, ...) _printf_(4, 5);
/* Adds to the text of a finding, for lists; what does not fit is left out. */
void doctor_found_more(struct doctor_finding *finding, const char *fmt, ...) _printf_(2, 3);

/* Runs one check in a child and waits for it, at most DOCTOR_DEADLINE_MS. */
void doctor_run_check(const struct doctor_check *check, const struct config *config,
		      struct doctor_finding *ret_finding);

#define DOCTOR_DEADLINE_MS 5000
