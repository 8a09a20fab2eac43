#include "access.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

#include "creds.h"

#define GROUPS_MAX 256 /* more than that are cut: access may then be refused once too often */

/* What is said of the caller in /proc/PID/status: nothing where it cannot be seen from here. */
struct caller {
	gid_t groups[GROUPS_MAX];
	size_t group_count;
	uint64_t caps; /* effective ones */
	bool caps_known;
};

static void read_groups(const char *at, struct caller *caller)
{
	char *end;

	for (; caller->group_count < GROUPS_MAX; at = end) {
		unsigned long gid = strtoul(at, &end, 10);

		if (end == at)
			return;
		caller->groups[caller->group_count++] = (gid_t)gid;
	}
}

static void caller_read(const struct request *req, struct caller *ret_caller)
{
	char path[40];
	char line[4096];
	FILE *f;

	ret_caller->group_count = 0;
	ret_caller->caps_known = false;
	(void)snprintf(path, sizeof(path), "/proc/%u/status", req->head->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	while (!ret_caller->caps_known && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "Groups:", 7) == 0)
			read_groups(line + 7, ret_caller);
		ret_caller->caps_known = sscanf(line, "CapEff: %" SCNx64, &ret_caller->caps) == 1;
	}
	(void)fclose(f);
}

static bool root_has(const struct caller *caller, int cap)
{
	return !caller->caps_known || caller->caps >> cap & 1;
}

bool access_root_has(const struct request *req, int cap)
{
	struct caller caller;

	if (req->head->uid != 0)
		return false;
	caller_read(req, &caller);
	return root_has(&caller, cap);
}

int access_check(const struct request *req, int dir_fd, int mask)
{
	struct caller caller;
	bool allowed;

	caller_read(req, &caller);
	if (req->head->uid == 0 && (root_has(&caller, CAP_DAC_OVERRIDE) ||
				    (!(mask & W_OK) && root_has(&caller, CAP_DAC_READ_SEARCH))))
		return 0;
	/* of this thread only, unlike the C library's functions of these names */
	(void)syscall(SYS_setgroups, caller.group_count, caller.groups);
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
	struct caller caller;

	if (req->head->gid == gid)
		return true;
	caller_read(req, &caller);
	for (size_t i = 0; i < caller.group_count; i++)
		if (caller.groups[i] == gid)
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
