/* SPDX-License-Identifier: Apache-2.0 */
/* Calls go to the workers through shared memory; two futexes per worker say whose turn it is. */
#include "difftest.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 60

struct chan {
	_Atomic uint32_t asked;	   /* number of calls handed over */
	_Atomic uint32_t answered; /* number of results handed back */
	struct call call;
	struct result result;
};

/* Waits until the word changes from val, or for at most a second. */
static void futex_wait(_Atomic uint32_t *word, uint32_t val)
{
	struct timespec second = {.tv_sec = 1};

	syscall(SYS_futex, word, FUTEX_WAIT, val, &second, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

const struct call *chan_wait(struct chan *ch)
{
	uint32_t answered = atomic_load(&ch->answered);

	while (atomic_load(&ch->asked) == answered)
		futex_wait(&ch->asked, answered);
	return &ch->call;
}

struct result *chan_result(struct chan *ch)
{
	return &ch->result;
}

void chan_done(struct chan *ch)
{
	atomic_fetch_add(&ch->answered, 1);
	futex_wake(&ch->answered);
}

static void chan_ask(struct chan *ch, const struct call *c)
{
	memcpy(&ch->call, c, offsetof(struct call, p));
	ch->call.p.base = c->p.base;
	memcpy(ch->call.p.s, c->p.s, strlen(c->p.s) + 1);
	ch->call.q.base = c->q.base;
	memcpy(ch->call.q.s, c->q.s, strlen(c->q.s) + 1);
	atomic_fetch_add(&ch->asked, 1);
	futex_wake(&ch->asked);
}

static int chan_collect(struct pool *p, enum side side, unsigned int user)
{
	struct chan *ch = p->chan[side][user];
	uint32_t asked = atomic_load(&ch->asked), seen;
	time_t end = time(NULL) + PATIENCE_S;
	int status;

	while ((seen = atomic_load(&ch->answered)) != asked) {
		futex_wait(&ch->answered, seen);
		if (atomic_load(&ch->answered) == asked)
			break;
		if (waitpid(p->pid[side][user], &status, WNOHANG) > 0) {
			printf("side %c, user %u: worker ended, status %#x\n", 'A' + side, user,
			       status);
			p->pid[side][user] = 0;
			return -ECHILD;
		}
		if (time(NULL) > end) {
			printf("side %c, user %u: no answer for %d s\n", 'A' + side, user,
			       PATIENCE_S);
			return -ETIME;
		}
	}
	return 0;
}

int pool_call(struct pool *p, const struct call *c, const struct result *ret_r[SIDE_MAX])
{
	int r = 0;

	for (enum side s = 0; s < SIDE_MAX; s++)
		chan_ask(p->chan[s][c->user], c);
	for (enum side s = 0; s < SIDE_MAX; s++) {
		int one = chan_collect(p, s, c->user);

		r = r ? r : one;
		ret_r[s] = &p->chan[s][c->user]->result;
	}
	return r;
}

static int pool_fork(struct pool *p, enum side side, enum user user, const struct run *run)
{
	struct chan *ch = mmap(NULL, sizeof(*ch), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct worker w = {
		.side = side,
		.user = user,
		.root_only = run->root_only,
		.beyond_fuse = run->beyond_fuse,
		.start = run->start,
	};

	if (ch == MAP_FAILED)
		return -errno;
	p->chan[side][user] = ch;
	p->pid[side][user] = fork();
	if (p->pid[side][user] < 0)
		return -errno;
	if (p->pid[side][user] == 0)
		worker_run(&w, run->dir[side], ch);
	return 0;
}

int pool_start(struct pool *p, const struct run *run)
{
	memset(p, 0, sizeof(*p));
	fflush(stdout);
	for (enum side s = 0; s < SIDE_MAX; s++)
		for (enum user u = 0; u < USER_MAX; u++) {
			int r = pool_fork(p, s, u, run);

			if (r < 0) {
				pool_stop(p);
				return r;
			}
		}
	return 0;
}

/* A worker stuck in the kernel is left behind. */
static void pool_kill(pid_t pid)
{
	const struct timespec tick = {.tv_nsec = 1000000};

	kill(pid, SIGKILL);
	for (unsigned int i = 0; i < 2000 && waitpid(pid, NULL, WNOHANG) == 0; i++)
		nanosleep(&tick, NULL);
}

void pool_stop(struct pool *p)
{
	for (enum side s = 0; s < SIDE_MAX; s++)
		for (enum user u = 0; u < USER_MAX; u++) {
			if (p->pid[s][u] > 0)
				pool_kill(p->pid[s][u]);
			if (p->chan[s][u])
				munmap(p->chan[s][u], sizeof(struct chan));
		}
	memset(p, 0, sizeof(*p));
}
