#include "scratch.h"

#include <pthread.h>
#include <sys/mman.h>

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void scratch_free(void *data)
{
	(void)munmap(data, SCRATCH_SIZE);
}

static void key_make(void)
{
	(void)pthread_key_create(&key, scratch_free);
}

char *scratch_get(void)
{
	char *buf;

	(void)pthread_once(&once, key_make);
	buf = pthread_getspecific(key);
	if (buf)
		return buf;
	buf = mmap(NULL, SCRATCH_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		return NULL;
	if (pthread_setspecific(key, buf) != 0) {
		scratch_free(buf);
		return NULL;
	}
	return buf;
}
