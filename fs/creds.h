/*
 * Whose rights a system call uses. The kernel has checked the caller's rights already
 * (default_permissions); what is left are effects: who owns a new file, whether set-id bits
 * survive, whether reserved blocks may be used. Credentials belong to the calling thread and
 * stay until the next call, so that a run of requests of one user costs nothing.
 */
#pragma once

#include "fs/request.h"

struct medium;

/* Once in each worker thread: a umask of its own. Returns 0 or -errno. */
int creds_thread_start(void);

/*
 * Filesystem ids of the request's caller (or of the medium's owner), all file capabilities.
 * keep_setid: with CAP_FSETID, so that set-id bits survive as they would for this caller.
 */
void creds_assume(const struct request *req, const struct medium *m, bool keep_setid);

/*
 * For a call in which the real filesystem takes set-id bits away as it would from this caller:
 * without CAP_FSETID, but as a member of the file's group if the caller is one, since that
 * decides about set-id bits.
 */
void creds_lose_setid(const struct request *req, const struct medium *m, uint32_t group);

/* As creds_assume() for a new file, with the caller's umask; the kernel has dealt with set-id bits.
 */
void creds_create(const struct request *req, const struct medium *m, uint32_t umask);

/* Exactly the rights of the request's caller, without any capability to access files; and back. */
void creds_drop(const struct request *req);
void creds_restore(void);

/* Takes CAP_SYS_ADMIN away from the thread for one call, and gives it back. */
void creds_set_admin(bool admin);
