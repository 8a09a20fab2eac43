/* Rules of the configuration: the [match TITLE] sections. */
#pragma once

#include "device/config.h"

/* A rule without conditions and settings. Returns 0 or -ENOMEM. */
int config_rule_new(const char *title, unsigned line, struct config_rule **ret_rule);
struct config_rule *config_rule_free(struct config_rule *rule);

/*
 * Sets one condition or setting by its name in the file. seen: a bit for each that was set
 * already; a repeated one is an error. Returns 0, -EINVAL or -ENOENT with what is wrong in error,
 * or -ENOMEM.
 */
int config_rule_set(struct config_rule *rule, const char *key, const char *value, uint64_t *seen,
		    char *error, size_t error_size);

/* Whether the rule says both when it applies and what it changes: 0, or -EINVAL with error. */
int config_rule_check(const struct config_rule *rule, char *error, size_t error_size);
