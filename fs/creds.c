#include "creds.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "medium.h"

struct thread_creds {
	uint32_t uid;
	uint32_t gid;
	uint32_t umask;
	bool keep_setid;
	bool started;
};

static _Thread_local struct thread_creds current;

#define CAP_BIT(cap) (1U << (cap))

/*
 * setfsuid() to a user takes the file capabilities out of the effective set (capabilities(7)):
 * put those that we are permitted back, but not some of the first 32.
 */
static void set_caps(uint32_t without)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return;
	data[0].effective = data[0].permitted & ~without;
	data[1].effective = data[1].permitted;
	(void)syscall(SYS_capset, &head, data);
}

static void raise_caps(bool keep_setid)
{
	set_caps(keep_setid ? 0 : CAP_BIT(CAP_FSETID));
}

static void set_umask(uint32_t mask)
{
	if (current.started && current.umask == mask)
		return;
	(void)umask((mode_t)mask);
	current.umask = mask;
}

static void assume(uint32_t uid, uint32_t gid, bool keep_setid)
{
	bool changed = !current.started || keep_setid != current.keep_setid;

	if (!current.started || gid != current.gid)
		(void)setfsgid(gid);
	if (!current.started || uid != current.uid) {
		(void)setfsuid(uid);
		changed = true;
	}
	if (changed)
		raise_caps(keep_setid);
	current.uid = uid;
	current.gid = gid;
	current.keep_setid = keep_setid;
}

int creds_thread_start(void)
{
	if (unshare(CLONE_FS) < 0)
		return -errno;
	assume(0, 0, true);
	set_umask(0);
	current.started = true;
	return 0;
}

void creds_assume(const struct request *req, const struct medium *m, bool keep_setid)
{
	uint32_t uid = req->head->uid;
	uint32_t gid = req->head->gid;

	(void)medium_owner(m, &uid, &gid);
	/* an id that the kernel could not map: nobody in particular */
	if (uid == UINT32_MAX || gid == UINT32_MAX)
		uid = gid = 0;
	assume(uid, gid, keep_setid);
}

void creds_lose_setid(const struct request *req, const struct medium *m, uint32_t group)
{
	creds_assume(req, m, false);
	assume(current.uid, group, false);
}

void creds_create(const struct request *req, const struct medium *m, uint32_t mask)
{
	creds_assume(req, m, true);
	set_umask(mask & 07777);
}

void creds_drop(const struct request *req)
{
	assume(0, 0, true); /* so that setfsuid() to a user takes the capabilities away */
	(void)setfsgid(req->head->gid);
	if (req->head->uid == 0)
		set_caps(CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH));
	else
		(void)setfsuid(req->head->uid);
}

void creds_restore(void)
{
	(void)setfsuid(0);
	(void)setfsgid(0);
	raise_caps(true);
	current.uid = current.gid = 0;
	current.keep_setid = true;
}

void creds_set_admin(bool admin)
{
	set_caps((current.keep_setid ? 0 : CAP_BIT(CAP_FSETID)) |
		 (admin ? 0 : CAP_BIT(CAP_SYS_ADMIN)));
}
