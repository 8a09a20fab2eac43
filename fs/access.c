#include "access.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

#include "creds.h"

#define GROUPS_MAX 256 /* more than that are cut: access may then be refused once too often */

/* The line "Groups:" of /proc/PID/status; none where the process cannot be seen from here. */
static size_t groups_of(uint32_t pid, gid_t *ret_groups)
{
	char path[40];
	char line[4096];
	size_t n = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%u/status", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		char *at = line + 7;
		char *end;

		if (strncmp(line, "Groups:", 7) != 0)
			continue;
		for (; n < GROUPS_MAX; at = end) {
			unsigned long gid = strtoul(at, &end, 10);

			if (end == at)
				break;
			ret_groups[n++] = (gid_t)gid;
		}
		break;
	}
	(void)fclose(f);
	return n;
}

int access_check(const struct request *req, int dir_fd, int mask)
{
	gid_t groups[GROUPS_MAX];
	size_t count;
	bool allowed;

	if (req->head->uid == 0)
		return 0;
	count = groups_of(req->head->pid, groups);
	/* of this thread only, unlike the C library's functions of these names */
	(void)syscall(SYS_setgroups, count, groups);
	creds_drop(req);
	/* who may not become the caller must not ask in the place of him */
	allowed = (uint32_t)setfsuid((uid_t)-1) == req->head->uid &&
		  syscall(SYS_faccessat2, dir_fd, "", mask, AT_EMPTY_PATH | AT_EACCESS) == 0;
	access_leave_group();
	creds_restore();
	return allowed ? 0 : -EACCES;
}

bool access_in_group(const struct request *req, uint32_t gid)
{
	gid_t groups[GROUPS_MAX];
	size_t count;

	if (req->head->gid == gid)
		return true;
	count = groups_of(req->head->pid, groups);
	for (size_t i = 0; i < count; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

void access_join_group(uint32_t gid)
{
	(void)syscall(SYS_setgroups, 1, &gid);
}

void access_leave_group(void)
{
	(void)syscall(SYS_setgroups, 0, NULL);
}
