#include "device/config.h"

#include "device/config_rules.h"
#include "device/config_values.h"

#define FIELD(member) offsetof(struct config, member)

static const struct config_setting settings[] = {
	{"include", config_parse_globs, FIELD(include)},
	{"exclude", config_parse_globs, FIELD(exclude)},
	{"dev", config_parse_path, FIELD(dev_dir)},
	{"events", config_parse_events, FIELD(events)},
	{"state-dir", config_parse_text, FIELD(state_dir)},
	{"owner", config_parse_owner, FIELD(owner)},
	{"idle-timeout", config_parse_duration, FIELD(idle_timeout_ms)},
	{"probe-timeout", config_parse_deadline, FIELD(probe_timeout_ms)},
	{"mount-timeout", config_parse_deadline, FIELD(mount_timeout_ms)},
	{"read-only", config_parse_bool, FIELD(read_only)},
	{"passthrough", config_parse_bool, FIELD(passthrough)},
	{"exec", config_parse_bool, FIELD(exec)},
	{"durability", config_parse_durability, FIELD(durability)},
	{"socket", config_parse_path, FIELD(socket_path)},
	{"log-level", config_parse_log_level, FIELD(log_level)},
};

int config_new(struct config **ret_config)
{
	struct config *config = malloc(sizeof(*config));

	if (!config)
		return -ENOMEM;
	*config = (struct config){
		.dev_dir = strdup("/dev"),
		.events = {.fd = -EBADF},
		.state_dir = strdup("/var/lib/hotplugfs"),
		.socket_path = strdup(CONFIG_SOCKET_DEFAULT),
		.idle_timeout_ms = 10000,
		.probe_timeout_ms = 10000,
		.mount_timeout_ms = 60000,
		.passthrough = true,
		.durability = DURABILITY_CLOSE,
		.log_level = LOG_LEVEL_INFO,
	};
	if (!config->dev_dir || !config->state_dir || !config->socket_path) {
		config_free(config);
		return -ENOMEM;
	}
	*ret_config = config;
	return 0;
}

static void globs_free(struct config_globs *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->globs[i]);
	free(list->globs);
}

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	while (config->rules) {
		struct config_rule *next = config->rules->next;

		config_rule_free(config->rules);
		config->rules = next;
	}
	globs_free(&config->include);
	globs_free(&config->exclude);
	free(config->dev_dir);
	free(config->state_dir);
	free(config->socket_path);
	free(config->file);
	free(config);
	return NULL;
}

int config_global_index(const char *key)
{
	char ignored[1];

	return config_setting_find(settings, ARRAY_SIZE(settings), key, ignored, sizeof(ignored));
}

int config_set(struct config *config, const char *key, const char *value, char *error,
	       size_t error_size)
{
	int i = config_setting_find(settings, ARRAY_SIZE(settings), key, error, error_size);

	if (i < 0)
		return i;
	return settings[i].parse(value, (char *)config + settings[i].offset, error, error_size);
}
