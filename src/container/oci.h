/* What an OCI runtime tells a hook (Runtime Specification: runtime.md, config.md). */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "base/util.h"

/* More than any runtime writes: the configuration of a large container is some 100 KiB. */
#define OCI_TEXT_MAX (4u << 20)

struct oci_state {
	pid_t pid;
	bool started; /* its root has become the root directory of its process */
	char bundle[PATH_MAX];
};

/*
 * The state that a hook gets on its standard input. Returns 0, or -EBADMSG when it is not that of a
 * container with a process. Pure.
 */
int oci_state_parse(const char *text, struct oci_state *ret_state);

/*
 * The root directory that a configuration names, which is relative to the bundle. Returns 0,
 * -EBADMSG, or -ENAMETOOLONG. Pure.
 */
int oci_root_parse(const char *text, const char *bundle, char ret_root[PATH_MAX]);

/* Reads a whole file of at most OCI_TEXT_MAX bytes. Returns 0 and text to be freed, or -errno. */
int oci_read(int fd, char **ret_text);
