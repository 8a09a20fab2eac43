/* The input as a configuration file: taken whole, or refused with one line that names the place. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/config.h"
#include "fuzz.h"

static void must_be_whole(const struct config *config)
{
	MUST(config->dev_dir && *config->dev_dir && config->socket_path && *config->socket_path);
	MUST(config->probe_timeout_ms > 0 && config->mount_timeout_ms > 0);
	for (const struct config_rule *rule = config->rules; rule; rule = rule->next) {
		MUST(rule->title && *rule->title && rule->line > 0);
		MUST(rule->label || rule->uuid || rule->fstype || rule->kname || rule->vendor ||
		     rule->model);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd = memfd_create("config", MFD_CLOEXEC);
	_cleanup_(config_freep) struct config *config = NULL;
	char error[2048] = "";
	char path[64];
	int r;

	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	MUST(config_new(&config) == 0);
	r = config_read_file(config, path, error, sizeof(error));
	if (r == 0) {
		must_be_whole(config);
	} else {
		MUST(strncmp(error, path, strlen(path)) == 0 && error[strlen(path)] == ':');
		MUST(!strchr(error, '\n'));
	}
	return 0;
}
