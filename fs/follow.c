#include "follow.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "base/loop.h"
#include "base/util.h"
#include "request.h"

#define STREAK	 16  /* requests in a row, after which it is worth the while */
#define PAUSE_US 500 /* until the next request: the client does something else */
#define APART_US 15  /* until the next: longer than a client on this CPU needs for its next call */
#define UNLOOKED 256 /* requests after which we look in any case */
#define RESTLESS 8   /* moves of the client that follow on one another */

#define OFF_US 100000 /* after it did not get on */

static _Thread_local struct follow *mine;

static int thread_id(void)
{
	return (int)syscall(SYS_gettid);
}

static int policy_set(int policy)
{
	const struct sched_param param = {0};

	return sched_setscheduler(0, policy, &param) < 0 ? -errno : 0;
}

static void *try_policies(void *data)
{
	bool *possible = data;

	*possible = policy_set(SCHED_IDLE) == 0 && policy_set(SCHED_OTHER) == 0;
	return NULL;
}

bool follow_possible(void)
{
	bool possible = false;
	pthread_t thread;
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || CPU_COUNT(&cpus) < 2)
		return false;
	if (sched_getscheduler(0) != SCHED_OTHER) /* somebody wanted it otherwise */
		return false;
	if (pthread_create(&thread, NULL, try_policies, &possible) != 0)
		return false;
	(void)pthread_join(thread, NULL);
	return possible;
}

/* ---- where the client is ---- */

/* The thread's, not the process's: there the kernel adds up all threads. */
static int stat_open(uint32_t pid)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", pid, pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The 39th field of proc(5)'s stat, of which the second is a name in brackets. Or -1. */
static int stat_cpu(int fd)
{
	char text[1024];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	const char *at;

	if (n <= 0)
		return -1;
	text[n] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at + 1) : -1;
}

/* ---- states ---- */

static void state_set(struct follow *f, enum follow_state state)
{
	assert(f->state != FOLLOW_NEVER && state != FOLLOW_NEVER);
	f->state = state;
}

void follow_place_init(struct follow_place *place)
{
	(void)pthread_mutex_init(&place->lock, NULL);
	place->tid = 0;
	place->off_until_us = 0;
}

void follow_init(struct follow *f, struct follow_place *place, bool possible)
{
	*f = (struct follow){.state = possible ? FOLLOW_WATCHING : FOLLOW_NEVER,
			     .place = place,
			     .stat_fd = -EBADF,
			     .cpu = -1};
	mine = f;
}

void follow_rest(struct follow *f)
{
	follow_leave(f);
	f->stat_fd = close_fd(f->stat_fd);
	f->pid = 0;
}

void follow_done(struct follow *f)
{
	follow_rest(f);
	mine = NULL;
}

/* Under the lock. The thread gives up the place itself, when it wakes up. */
static void place_unbind(const struct follow_place *place)
{
	const struct sched_param param = {0};

	if (place->tid == 0)
		return;
	(void)sched_setscheduler(place->tid, SCHED_OTHER, &param);
	(void)sched_setaffinity(place->tid, sizeof(place->mask), &place->mask);
}

void follow_release(struct follow_place *place, bool waited_for)
{
	pthread_mutex_lock(&place->lock);
	if (place->tid != 0 && waited_for)
		atomic_store(&place->off_until_us, now_us() + OFF_US);
	place_unbind(place);
	pthread_mutex_unlock(&place->lock);
}

void follow_leave(struct follow *f)
{
	f->streak = 0;
	if (f->state != FOLLOW_BOUND)
		return;
	pthread_mutex_lock(&f->place->lock);
	place_unbind(f->place);
	f->place->tid = 0;
	pthread_mutex_unlock(&f->place->lock);
	f->cpu = -1;
	state_set(f, FOLLOW_WATCHING);
}

void follow_leave_caller(void)
{
	if (mine)
		follow_leave(mine);
}

static void leave_for_now(struct follow *f, uint64_t now)
{
	follow_leave(f);
	f->stat_fd = close_fd(f->stat_fd);
	atomic_store(&f->place->off_until_us, now + OFF_US);
}

/* Returns whether this thread has the place now. */
static bool place_take(struct follow *f)
{
	struct follow_place *place = f->place;
	bool taken;

	if (f->state == FOLLOW_BOUND)
		return true;
	pthread_mutex_lock(&place->lock);
	taken = place->tid == 0 && sched_getaffinity(0, sizeof(place->mask), &place->mask) == 0;
	if (taken)
		place->tid = thread_id();
	pthread_mutex_unlock(&place->lock);
	if (taken)
		state_set(f, FOLLOW_BOUND);
	return taken;
}

/* The mask may be read without the lock by the thread that has the place. */
static void bind_to(struct follow *f, int cpu, uint64_t now)
{
	cpu_set_t one;

	if (!place_take(f))
		return;
	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	if (!CPU_ISSET((unsigned)cpu, &f->place->mask) ||
	    sched_setaffinity(0, sizeof(one), &one) < 0 || policy_set(SCHED_IDLE) < 0)
		leave_for_now(f, now);
	else
		f->cpu = cpu;
}

/* Finds out where the client is, and goes there. */
static void look(struct follow *f, uint64_t now)
{
	int cpu;

	if (f->stat_fd < 0)
		f->stat_fd = stat_open(f->pid);
	cpu = f->stat_fd < 0 ? -1 : stat_cpu(f->stat_fd);
	if (cpu < 0 || cpu >= CPU_SETSIZE) {
		leave_for_now(f, now);
		return;
	}
	if (cpu != f->cpu) {
		f->restless = f->unlooked < 4 ? f->restless + 1 : 0;
		if (f->restless > RESTLESS)
			leave_for_now(f, now);
		else
			bind_to(f, cpu, now);
	}
	f->unlooked = 0;
}

void follow_request(struct follow *f, const struct fuse_in_header *head)
{
	uint64_t now;
	uint64_t gap;

	if (f->state == FOLLOW_NEVER)
		return;
	if (!request_is_waited_for(head)) {
		f->aside_us = now_us();
		return;
	}
	if (head->pid == 0)
		return;
	if (request_moves_much(head)) { /* the client copies the last data while we read the next */
		follow_leave(f);
		return;
	}
	now = now_us();
	gap = now - f->answered_us;
	if (head->pid != f->pid) {
		follow_leave(f);
		f->stat_fd = close_fd(f->stat_fd);
		f->pid = head->pid;
		return;
	}
	if (gap > PAUSE_US || now < atomic_load(&f->place->off_until_us)) {
		follow_leave(f);
		return;
	}
	f->unlooked++;
	if (++f->streak >= STREAK &&
	    (f->state != FOLLOW_BOUND || gap > APART_US || f->unlooked > UNLOOKED))
		look(f, now);
}

/* The client goes on while we handle what it does not wait for: that is not its time. */
void follow_answered(struct follow *f)
{
	if (f->state == FOLLOW_NEVER)
		return;
	if (f->aside_us)
		f->answered_us += now_us() - f->aside_us;
	else
		f->answered_us = now_us();
	f->aside_us = 0;
}
