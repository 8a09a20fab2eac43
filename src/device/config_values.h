/* How the texts of settings become values, for global settings and for rules alike. Pure. */
#pragma once

#include "device/config.h"

/*
 * Parses value into field, whose type the parser knows. Returns 0, -EINVAL with what is wrong and
 * what would be right in error, or -ENOMEM.
 */
typedef int (*config_parser)(const char *value, void *field, char *error, size_t error_size);

struct config_setting {
	const char *key;
	config_parser parse;
	size_t offset; /* of the field in its struct */
};

/* The number of a global setting, below 64, or -ENOENT. */
int config_global_index(const char *key);

/* The index of a key in a table, or -ENOENT with the known keys in error. */
int config_setting_find(const struct config_setting *table, size_t count, const char *key,
			char *error, size_t error_size);

int config_parse_bool(const char *value, void *field, char *error, size_t error_size);
int config_parse_tristate(const char *value, void *field, char *error, size_t error_size);
/* As 0: "never", and nothing else. */
int config_parse_duration(const char *value, void *field, char *error, size_t error_size);
/* As a duration, but not 0: something must end. */
int config_parse_deadline(const char *value, void *field, char *error, size_t error_size);
int config_parse_owner(const char *value, void *field, char *error, size_t error_size);
/* "auto", "udev", "kernel", "fd:N", "unix:PATH", "inotify". */
int config_parse_events(const char *value, void *field, char *error, size_t error_size);
int config_parse_durability(const char *value, void *field, char *error, size_t error_size);
int config_parse_log_level(const char *value, void *field, char *error, size_t error_size);
/* Replace the text that the field (char *) had. A path and a glob are never empty. */
int config_parse_text(const char *value, void *field, char *error, size_t error_size);
int config_parse_path(const char *value, void *field, char *error, size_t error_size);
int config_parse_glob(const char *value, void *field, char *error, size_t error_size);
/* A name that name_sanitize() leaves as it is. */
int config_parse_name(const char *value, void *field, char *error, size_t error_size);
int config_parse_options(const char *value, void *field, char *error, size_t error_size);
/* One or more globs of kernel names, separated by commas, are appended. */
int config_parse_globs(const char *value, void *field, char *error, size_t error_size);
