/*
 * Memory and threads that run out on command, for LD_PRELOAD. ALLOCFAIL names a file with a struct
 * control in it, which is shared with whoever commands it: while `one_in` is not zero, one
 * allocation in so many of the process `pid` fails, at places that look random; while `threads` is
 * not zero, no process can start more than so many.
 *
 * __libc_malloc() and its like are the C library's own (glibc, malloc/malloc.c).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct control {
	atomic_uint pid;
	atomic_uint one_in;
	atomic_uint failed;
	atomic_uint threads;
	atomic_uint threads_failed;
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct control *control;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("ALLOCFAIL");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = MAP_FAILED;

	if (fd >= 0) {
		map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		(void)close(fd);
	}
	if (map != MAP_FAILED)
		control = map;
}

static bool fails(void)
{
	static atomic_uint calls;
	unsigned one_in = control ? atomic_load(&control->one_in) : 0;
	uint32_t mixed;

	if (one_in == 0 || atomic_load(&control->pid) != (unsigned)getpid())
		return false;
	mixed = atomic_fetch_add(&calls, 1) * 2654435761U; /* 2^32 divided by the golden ratio */
	if ((mixed >> 8) % one_in != 0)
		return false;
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *memory = fails() ? NULL : __libc_memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	*ret = memory;
	return 0;
}

/* How many this process has started; a child of fork() begins anew. */
static unsigned threads_started(void)
{
	static _Atomic pid_t pid;
	static atomic_uint started;

	if (atomic_exchange(&pid, getpid()) != getpid())
		atomic_store(&started, 0);
	return atomic_fetch_add(&started, 1);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *data)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	unsigned started = threads_started();
	unsigned threads = control ? atomic_load(&control->threads) : 0;

	if (threads > 0 && started >= threads) {
		atomic_fetch_add(&control->threads_failed, 1);
		return EAGAIN;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attr, fn, data);
}
