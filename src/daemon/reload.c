#include "context.h"

#include "base/log.h"

static bool text_equal(const char *a, const char *b)
{
	return streq(a ? a : "", b ? b : "");
}

/* What only a new start can change keeps its old value and is told. */
static void tell_unchangeable(const struct config *old, const struct config *new)
{
	const struct {
		const char *name;
		bool changed;
	} settings[] = {
		{"events", memcmp(&old->events, &new->events, sizeof(old->events)) != 0},
		{"dev", !text_equal(old->dev_dir, new->dev_dir)},
		{"state-dir", !text_equal(old->state_dir, new->state_dir)},
		{"socket", !text_equal(old->socket_path, new->socket_path)},
		{"exec", old->exec != new->exec},
	};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (settings[i].changed)
			log_notice("%s takes effect when hotplugfs is started again",
				   settings[i].name);
}

/* Of those, the one that is asked for again and again. */
static void keep_dev_dir(struct config *old, struct config *new)
{
	char *dev_dir = new->dev_dir;

	new->dev_dir = old->dev_dir;
	old->dev_dir = dev_dir;
}

static void tell_server(struct broker *b)
{
	bool strict = b->config->durability == DURABILITY_STRICT;
	struct link_message message = {.type = LINK_SETTINGS,
				       .flags = strict ? LINK_SETTINGS_STRICT : 0,
				       .idle_timeout_ms = b->config->idle_timeout_ms};

	supervisor_settings(b->server, strict, b->config->idle_timeout_ms);
	supervisor_send(b->server, &message, -EBADF);
}

void reload_config(struct broker *b)
{
	struct config *config = NULL;
	char error[1400] = "";

	if (b->args->load_config(b->args->data, &config, error, sizeof(error)) < 0) {
		log_err("%s; the old configuration stays in force", error);
		return;
	}
	tell_unchangeable(b->config, config);
	keep_dev_dir(b->config, config);
	b->config = config_free(b->config);
	b->config = config;
	log_set_level(config->log_level);
	tell_server(b);
	b->sysdisk_ms = 0;
	reconcile_all(b, RECONCILE_RELOAD);
	registry_for_each (m, &b->registry)
		if (medium_is_engaged(m))
			visibility_update(b, m);
	log_info("configuration loaded again");
}
