#include "device/config_rules.h"

#include <stdio.h>

#include "device/config_values.h"

#define FIELD(member) offsetof(struct config_rule, member)

static const struct config_setting rule_settings[] = {
	{"label", config_parse_glob, FIELD(label)},
	{"uuid", config_parse_glob, FIELD(uuid)},
	{"fstype", config_parse_glob, FIELD(fstype)},
	{"kernel", config_parse_glob, FIELD(kname)},
	{"vendor", config_parse_glob, FIELD(vendor)},
	{"model", config_parse_glob, FIELD(model)},
	{"name", config_parse_name, FIELD(name)},
	{"options", config_parse_options, FIELD(options)},
	{"owner", config_parse_owner, FIELD(owner)},
	{"read-only", config_parse_tristate, FIELD(read_only)},
	{"hidden", config_parse_tristate, FIELD(hidden)},
};

int config_rule_new(const char *title, unsigned line, struct config_rule **ret_rule)
{
	struct config_rule *rule = calloc(1, sizeof(*rule));

	if (!rule)
		return -ENOMEM;
	rule->line = line;
	rule->read_only = rule->hidden = -1;
	rule->title = strdup(title);
	if (!rule->title) {
		config_rule_free(rule);
		return -ENOMEM;
	}
	*ret_rule = rule;
	return 0;
}

struct config_rule *config_rule_free(struct config_rule *rule)
{
	if (!rule)
		return NULL;
	free(rule->title);
	free(rule->label);
	free(rule->uuid);
	free(rule->fstype);
	free(rule->kname);
	free(rule->vendor);
	free(rule->model);
	free(rule->name);
	free(rule->options);
	free(rule);
	return NULL;
}

int config_rule_set(struct config_rule *rule, const char *key, const char *value, uint64_t *seen,
		    char *error, size_t error_size)
{
	int i = config_setting_find(rule_settings, ARRAY_SIZE(rule_settings), key, error,
				    error_size);

	if (i < 0)
		return i;
	if (*seen & 1ull << i) {
		(void)snprintf(error, error_size, "set twice in this section");
		return -EINVAL;
	}
	*seen |= 1ull << i;
	return rule_settings[i].parse(value, (char *)rule + rule_settings[i].offset, error,
				      error_size);
}

int config_rule_check(const struct config_rule *rule, char *error, size_t error_size)
{
	if (!rule->label && !rule->uuid && !rule->fstype && !rule->kname && !rule->vendor &&
	    !rule->model) {
		(void)snprintf(error, error_size,
			       "[match %s] has no condition; kernel = * matches every device",
			       rule->title);
		return -EINVAL;
	}
	if (!rule->name && !rule->options && !rule->owner.set && rule->read_only < 0 &&
	    rule->hidden < 0) {
		(void)snprintf(error, error_size, "[match %s] sets nothing", rule->title);
		return -EINVAL;
	}
	return 0;
}
