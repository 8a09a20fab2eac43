/*
 * The configuration: defaults, then the file, then the command line. Read once into one object;
 * a reload makes a new object and swaps it in only if it is whole.
 */
#pragma once

#include "base/limits.h"
#include "base/log.h"
#include "base/util.h"

#define CONFIG_SOCKET_DEFAULT "/run/hotplugfs/control.sock"

enum durability {
	DURABILITY_LAZY,   /* the kernel writes back when it likes */
	DURABILITY_CLOSE,  /* a sync in the background one second after the last writer closed */
	DURABILITY_STRICT, /* close waits until the data is on the disk */
};

/* Where events come from, the best first; watch.h tells what each is. */
enum events_kind {
	EVENTS_AUTO, /* the best that works here */
	EVENTS_UDEV,
	EVENTS_KERNEL,
	EVENTS_FD,
	EVENTS_UNIX,
	EVENTS_INOTIFY,
};

struct events_setting {
	enum events_kind kind;
	int fd;			      /* EVENTS_FD */
	char path[LIMIT_SOCKET_PATH]; /* EVENTS_UNIX */
};

struct owner {
	bool set;
	uint32_t uid;
	uint32_t gid;
};

/* One [match NAME] section: all its conditions must hold, each a shell glob. */
struct config_rule {
	struct config_rule *next;
	char *title; /* of the section */
	unsigned line;
	/* conditions, NULL: any */
	char *label, *uuid, *fstype, *kname, *vendor, *model;
	/* settings, NULL or unset: not touched by this rule */
	char *name;
	char *options;
	unsigned options_line;
	struct owner owner;
	int read_only; /* -1 unset, 0, 1 */
	int hidden;    /* -1 unset, 0 (show), 1 */
};

struct config_globs {
	char **globs;
	size_t count;
};

struct config {
	struct config_globs include; /* kernel names shown although not removable */
	struct config_globs exclude;
	char *dev_dir;
	struct events_setting events;
	char *state_dir; /* where owners of contested names are remembered; "" : nowhere */
	struct owner owner;
	uint64_t idle_timeout_ms; /* 0: never unmount when idle */
	uint64_t probe_timeout_ms;
	uint64_t mount_timeout_ms;
	bool read_only; /* unless a rule says read-only = no */
	bool passthrough;
	bool exec; /* default false: the view is noexec */
	enum durability durability;
	char *socket_path;
	enum log_level log_level;
	struct config_rule
		*rules; /* in the order of the file; the first match of each setting wins */
	char *file;	/* path of the file read, or NULL */
};

/* A configuration with every default set. Returns 0 or -ENOMEM. */
int config_new(struct config **ret_config);
struct config *config_free(struct config *config);
static inline void config_freep(struct config **config)
{
	*config = config_free(*config);
}

/*
 * Applies one global setting by its name in the file ("idle-timeout"), which is also the long
 * option's name. include and exclude append. Returns 0, or -EINVAL with a message in error that
 * says what is wrong and what would be right (no prefix, no newline), -ENOENT for an unknown
 * setting, -ENOMEM.
 */
int config_set(struct config *config, const char *key, const char *value, char *error,
	       size_t error_size);

/*
 * Reads an INI file into config: section [hotplugfs] (or none) with global settings, any number
 * of [match TITLE] sections. Returns 0, or -EINVAL and one line "file:line: what" in error (no
 * newline), or -errno (then error says "file: cannot open: ..."). Never half: on failure throw
 * config away. Repeated settings, unknown keys and sections, and rules without a condition or
 * without a setting are errors. A ';' after a blank begins a comment.
 */
int config_read_file(struct config *config, const char *path, char *error, size_t error_size);

/*
 * "USER", "UID", "USER:GROUP", "UID:GID", with names from the user database. Without a group it is
 * the user's own; that of a number without an entry is the same number. Returns 0, or -EINVAL with
 * what is wrong in error.
 */
int owner_parse(const char *text, struct owner *ret_owner, char *error, size_t error_size);

/*
 * "10", "500ms", "2s", "5min", "1h", and "never" or "0" -> 0; at most a year. Returns 0 or -EINVAL.
 * Pure.
 */
int duration_parse(const char *text, uint64_t *ret_ms);
