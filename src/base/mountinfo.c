#include "mountinfo.h"

#include <fcntl.h>
#include <stdio.h>

static FILE *open_text(int proc, const char *path)
{
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f)
		close_fd(fd);
	return f;
}

static int mount_id(int proc, int fd, unsigned long long *ret_id)
{
	char path[40];
	char line[128];
	int r = -ENOENT;
	FILE *f;

	(void)snprintf(path, sizeof(path), "self/fdinfo/%d", fd);
	f = open_text(proc, path);
	if (!f)
		return -errno;
	while (r < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "mnt_id: %llu", ret_id) == 1)
			r = 0;
	(void)fclose(f);
	return r;
}

/* "36 35 98:0 /root /mountpoint rw,noatime master:1 - ext3 /dev/root rw,errors=continue" */
static bool parse(const char *line, struct mount_facts *facts)
{
	const char *tail = strstr(line, " - ");
	const char *master = strstr(line, " master:");

	*facts = (struct mount_facts){.follows = master && tail && master < tail};
	return tail && sscanf(tail, " - %63s %63s", facts->type, facts->source) == 2 &&
	       sscanf(line, "%llu %llu %23s %4095s %*s %255s", &facts->id, &facts->parent,
		      facts->device, facts->root, facts->options) == 5;
}

int mountinfo_by_id(int proc, unsigned long long id, struct mount_facts *ret_facts)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	struct mount_facts facts;
	int r = -ENOENT;
	FILE *f = open_text(proc, "self/mountinfo");

	if (!f)
		return -errno;
	while (r < 0 && getline(&line, &size, f) > 0)
		if (parse(line, &facts) && facts.id == id)
			r = 0;
	(void)fclose(f);
	if (r == 0)
		*ret_facts = facts;
	return r;
}

int mountinfo_of(int proc, int fd, struct mount_facts *ret_facts)
{
	unsigned long long id;
	int r = mount_id(proc, fd, &id);

	return r < 0 ? r : mountinfo_by_id(proc, id, ret_facts);
}

bool mountinfo_has(const struct mount_facts *facts, const char *option)
{
	size_t length = strlen(option);

	for (const char *at = facts->options; *at; at += *at == ',') {
		size_t n = strcspn(at, ",");

		if (n == length && strncmp(at, option, n) == 0)
			return true;
		at += n;
	}
	return false;
}
