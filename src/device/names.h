/*
 * Directory names for media: safe whatever the label says, distinct, and the same after every
 * replug and reboot. Never through a shell. Not thread-safe.
 */
#pragma once

#include "base/limits.h"
#include "base/util.h"

/*
 * A label made a safe path component (DESIGN section 6): valid UTF-8 (bad sequences become
 * U+FFFD), control characters (C0, DEL, C1), '/' and '\' become '_', direction marks and other
 * invisible format characters go, leading dots and surrounding blanks go, at most LIMIT_NAME
 * bytes cut at a character boundary with room for the suffix of names_assign(). "" when nothing
 * usable is left. Pure.
 */
void name_sanitize(const char *label, char ret_name[LIMIT_NAME + 1]);

/* The base name: wanted, else label, else UUID, else "usbhd-<kname>"; each sanitised. Pure. */
void name_base(const char *wanted, const char *label, const char *uuid, const char *kname,
	       char ret_name[LIMIT_NAME + 1]);

struct names;

/*
 * The set of names in use and the memory of contested ones. state_dir: directory for the file
 * "names", made if missing; NULL or "": remember only until exit. A damaged file is moved aside
 * to "names.bad" and told in the log. Returns 0 or -errno; a directory that cannot be written
 * is not an error: it is logged once.
 */
int names_new(const char *state_dir, struct names **ret_names);
struct names *names_free(struct names *names);

/*
 * Gives a name to an identity (UUID plus blockdev.hwid: "what disk is this"). base comes from
 * name_base(). The base name when
 * no other identity holds it now or owns it from an earlier contest, else base plus "-" and six
 * base-32 characters of the identity's hash. From the first contest on both owners are
 * remembered, so that the result does not depend on the order of plugging. A second medium with the
 * same identity (a copy on hardware that cannot be told apart) gets a number after the suffix. The
 * name stays taken until names_release(). Returns 0, or -ENOMEM.
 */
int names_assign(struct names *names, const char *base, const char *identity,
		 char ret_name[LIMIT_NAME + 1]);

/*
 * Takes a name that an identity has already, given by a program that ran here before. Returns 0, or
 * -ENOMEM.
 */
int names_hold(struct names *names, const char *base, const char *identity, const char *name);

/* Calls fn for each remembered owner of a contested name, oldest first, until it returns not 0. */
struct name_record;
int names_each_record(const struct names *names,
		      int (*fn)(const struct name_record *record, void *data), void *data);
/* Remembers one that another program remembered. Returns 0 or -ENOMEM. */
int names_remember(struct names *names, const char *base, const char *identity, const char *name);

/* The name may be used again. An unknown name is ignored. */
void names_release(struct names *names, const char *name);
