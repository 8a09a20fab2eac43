/* A reader goes where its client is, gives way there, and is as before when it leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "fs/follow.h"

#define TRY_MS 20000 /* on a busy machine a request may come late, which begins all anew */

/* A thread that wakes up now and then: one that sleeps stays where it was. */
struct client {
	pthread_t thread;
	atomic_int tid;
	atomic_bool end;
};

struct scene {
	struct client client;
	struct follow_place place;
	struct follow follow;
	cpu_set_t before;
	int cpus[2];
};

static struct scene scene;

static void *client_main(void *data)
{
	struct client *client = data;

	atomic_store(&client->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&client->end))
		(void)usleep(1000);
	return NULL;
}

static void bind_thread(int tid, int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	assert_int_equal(sched_setaffinity(tid, sizeof(one), &one), 0);
}

static int set_up(void **state)
{
	int found = 0;

	*state = &scene;
	assert_int_equal(sched_getaffinity(0, sizeof(scene.before), &scene.before), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET((unsigned)cpu, &scene.before))
			scene.cpus[found++] = cpu;
	scene.client = (struct client){0};
	assert_int_equal(pthread_create(&scene.client.thread, NULL, client_main, &scene.client), 0);
	while (atomic_load(&scene.client.tid) == 0)
		(void)sched_yield();
	bind_thread(scene.client.tid, scene.cpus[0]);
	follow_place_init(&scene.place);
	follow_init(&scene.follow, &scene.place, true);
	return 0;
}

static void assert_everywhere(void)
{
	cpu_set_t now;

	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_true(CPU_EQUAL(&now, &scene.before));
}

static int tear_down(void **state)
{
	(void)state;
	follow_done(&scene.follow);
	assert_everywhere();
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	atomic_store(&scene.client.end, true);
	return pthread_join(scene.client.thread, NULL);
}

static struct fuse_in_header header(uint32_t opcode, int pid)
{
	return (struct fuse_in_header){.opcode = opcode, .pid = (uint32_t)pid};
}

static void call(uint32_t opcode, int pid)
{
	struct fuse_in_header head = header(opcode, pid);

	follow_request(&scene.follow, &head);
	follow_answered(&scene.follow);
}

static void until_bound_to(int cpu)
{
	uint64_t end = now_ms() + TRY_MS;
	cpu_set_t now;

	while (scene.follow.cpu != cpu && now_ms() < end)
		call(FUSE_LOOKUP, scene.client.tid);
	assert_int_equal(scene.follow.cpu, cpu);
	assert_true(follow_is_bound(&scene.follow));
	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_int_equal(CPU_COUNT(&now), 1);
	assert_true(CPU_ISSET((unsigned)cpu, &now));
}

static void test_goes_where_the_client_is(void **state)
{
	(void)state;
	until_bound_to(scene.cpus[0]);
	bind_thread(scene.client.tid, scene.cpus[1]);
	until_bound_to(scene.cpus[1]);
}

static void test_not_before_it_pays(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		call(FUSE_LOOKUP, scene.client.tid);
	assert_false(follow_is_bound(&scene.follow));
	assert_everywhere();
}

static void test_another_client(void **state)
{
	(void)state;
	until_bound_to(scene.cpus[0]);
	call(FUSE_LOOKUP, getpid());
	assert_false(follow_is_bound(&scene.follow));
	assert_everywhere();
}

/* What nobody waits for, and who is in a pid namespace that is not ours, change nothing. */
static void test_nobody_in_particular(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		call(FUSE_LOOKUP, 0);
	assert_false(follow_is_bound(&scene.follow));
	until_bound_to(scene.cpus[0]);
	call(FUSE_LOOKUP, 0);
	call(FUSE_FORGET, getpid());
	call(FUSE_RELEASE, getpid());
	assert_true(follow_is_bound(&scene.follow));
}

/* Its next call comes while we handle what it does not wait for: its way to here shows yet. */
static void test_behind_what_nobody_waits_for(void **state)
{
	uint64_t end = now_ms() + TRY_MS;
	bool found = false;

	(void)state;
	while (!found && now_ms() < end) {
		bind_thread(scene.client.tid, scene.cpus[0]);
		until_bound_to(scene.cpus[0]);
		bind_thread(scene.client.tid, scene.cpus[1]);
		for (int i = 0; i < 8; i++) {
			(void)usleep(50);
			call(FUSE_RELEASE, scene.client.tid);
			call(FUSE_LOOKUP, scene.client.tid);
		}
		found = scene.follow.cpu == scene.cpus[1];
	}
	assert_true(found);
}

static void test_gives_way(void **state)
{
	(void)state;
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	until_bound_to(scene.cpus[0]);
	assert_int_equal(sched_getscheduler(0), SCHED_IDLE);
	follow_leave(&scene.follow);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

static void test_rests(void **state)
{
	(void)state;
	until_bound_to(scene.cpus[0]);
	assert_true(scene.follow.stat_fd >= 0);
	follow_rest(&scene.follow);
	assert_everywhere();
	assert_int_equal(scene.follow.stat_fd, -EBADF);
	until_bound_to(scene.cpus[0]);
}

/* It did not get on: no more of this for a while. */
static void test_held_up(void **state)
{
	(void)state;
	until_bound_to(scene.cpus[0]);
	follow_release(&scene.place, true);
	assert_everywhere();
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	assert_true(atomic_load(&scene.place.off_until_us) > now_us());
	for (int i = 0; i < 20; i++)
		call(FUSE_LOOKUP, scene.client.tid);
	assert_false(follow_is_bound(&scene.follow));
}

static void *look_around(void *data)
{
	bool *as_before = data;
	cpu_set_t now;

	*as_before = sched_getaffinity(0, sizeof(now), &now) == 0 &&
		     CPU_EQUAL(&now, &scene.before) && sched_getscheduler(0) == SCHED_OTHER;
	return NULL;
}

static void test_threads_inherit_nothing(void **state)
{
	bool as_before = false;
	pthread_t thread;

	(void)state;
	until_bound_to(scene.cpus[0]);
	follow_leave_caller();
	assert_int_equal(pthread_create(&thread, NULL, look_around, &as_before), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(as_before);
}

static void test_released_by_others(void **state)
{
	(void)state;
	follow_release(&scene.place, false); /* nobody is there */
	until_bound_to(scene.cpus[0]);
	follow_release(&scene.place, false);
	assert_everywhere();
	assert_int_equal(atomic_load(&scene.place.off_until_us), 0);
	follow_leave(&scene.follow);
	assert_int_equal(scene.place.tid, 0);
}

static void test_one_at_a_time(void **state)
{
	(void)state;
	scene.place.tid = 1;
	for (int i = 0; i < 100; i++)
		call(FUSE_LOOKUP, scene.client.tid);
	assert_false(follow_is_bound(&scene.follow));
	scene.place.tid = 0;
}

static void test_client_has_ended(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		call(FUSE_LOOKUP, INT32_MAX);
	assert_false(follow_is_bound(&scene.follow));
	assert_everywhere();
}

static void test_never(void **state)
{
	(void)state;
	follow_init(&scene.follow, &scene.place, false);
	for (int i = 0; i < 100; i++)
		call(FUSE_LOOKUP, scene.client.tid);
	assert_int_equal(scene.follow.state, FOLLOW_NEVER);
	assert_everywhere();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_goes_where_the_client_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_before_it_pays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_client, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nobody_in_particular, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_behind_what_nobody_waits_for, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_gives_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rests, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_held_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_threads_inherit_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_released_by_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_client_has_ended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_never, set_up, tear_down),
	};

	if (!follow_possible()) {
		printf("this machine cannot: one CPU, or no way back from SCHED_IDLE\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
