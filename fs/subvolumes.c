#include "subvolumes.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "view_internal.h"

static struct slab *records(const struct medium *m)
{
	return &m->view->store.slabs[STORE_SUBVOLUMES];
}

static uint64_t id_of(int fd)
{
	struct btrfs_ioctl_ino_lookup_args args = {.objectid = BTRFS_FIRST_FREE_OBJECTID};

	return ioctl(fd, BTRFS_IOC_INO_LOOKUP, &args) == 0 ? args.treeid : 0;
}

/*
 * What a device number stands for on every mount: on btrfs, where each subvolume has one of its
 * own that changes from mount to mount, the subvolume's id (fs/btrfs/ioctl.c, INO_LOOKUP). All but
 * its top is in the same subvolume as its directory, which can be asked also where the file itself
 * cannot be opened.
 */
static uint64_t subvolume_of(int fd, const char *name, dev_t dev)
{
	_cleanup_close_ int sub = -EBADF;
	struct stat st = {.st_dev = dev};
	uint64_t id;

	if (*name && fstat(fd, &st) == 0 && st.st_dev != dev)
		sub = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (sub < 0 && *name && st.st_dev != dev) /* the directory is in another one */
		return dev;
	id = id_of(sub >= 0 ? sub : fd);
	return id ? id : dev;
}

/* Under the lock. The number of a device of this mount, or 0 when it has none yet. */
static uint16_t known(const struct medium *m, dev_t dev)
{
	const struct subvolumes *s = m->subvolumes;

	for (uint16_t i = 1; s && i <= SUBVOLUMES_MAX && s->ids[i]; i++)
		if (s->devs[i] == dev)
			return i;
	return 0;
}

/* Notes it for the next server, before any node can have it. Returns 0 or -errno. */
static int record_add(struct medium *m, uint16_t number, uint64_t id)
{
	struct subvolume_record *rec;
	uint32_t index;
	int r = slab_alloc(records(m), &index);

	if (r < 0)
		return r;
	rec = slab_at(records(m), index);
	rec->slot = m->slot;
	rec->number = number;
	rec->id = id;
	slab_publish(records(m), index, 1);
	return 0;
}

/* Under both locks. The number of a subvolume, the first free one if it has none yet. */
static uint16_t add(struct medium *m, uint64_t id, dev_t dev)
{
	if (!m->subvolumes)
		m->subvolumes = calloc(1, sizeof(*m->subvolumes));
	for (uint16_t i = 1; m->subvolumes && i <= SUBVOLUMES_MAX; i++) {
		struct subvolumes *s = m->subvolumes;

		if (s->ids[i] != 0 && s->ids[i] != id)
			continue;
		if (s->ids[i] == 0 && record_add(m, i, id) < 0)
			break;
		s->ids[i] = id;
		s->devs[i] = dev;
		return i;
	}
	return SUBVOLUMES_OTHER;
}

uint16_t subvolume_number(struct medium *m, dev_t dev, int fd, const char *name)
{
	uint16_t number;
	uint64_t id;

	if (dev == m->root_dev)
		return 0;
	pthread_mutex_lock(&m->lock);
	number = known(m, dev);
	pthread_mutex_unlock(&m->lock);
	if (number)
		return number;
	id = subvolume_of(fd, name, dev);
	pthread_mutex_lock(&m->view->media_lock);
	pthread_mutex_lock(&m->lock);
	number = known(m, dev);
	if (!number)
		number = add(m, id, dev);
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->view->media_lock);
	return number;
}

bool subvolume_is(struct medium *m, dev_t dev, uint16_t number)
{
	uint16_t is;

	if (dev == m->root_dev || number == 0)
		return dev == m->root_dev && number == 0;
	pthread_mutex_lock(&m->lock);
	is = known(m, dev);
	pthread_mutex_unlock(&m->lock);
	return is == 0 || is == number;
}

int subvolumes_begin(struct medium *m, bool kept)
{
	if (!kept)
		subvolumes_forget(m); /* of one that a server which died had there */
	for (uint32_t i = 0; i < records(m)->chunk_count * records(m)->per_chunk; i++) {
		const struct subvolume_record *rec = slab_find(records(m), i);

		if (!rec || rec->slot != m->slot)
			continue;
		if (!m->subvolumes)
			m->subvolumes = calloc(1, sizeof(*m->subvolumes));
		if (!m->subvolumes)
			return -ENOMEM;
		if (rec->number >= 1 && rec->number <= SUBVOLUMES_MAX)
			m->subvolumes->ids[rec->number] = rec->id;
	}
	return 0;
}

void subvolumes_forget(struct medium *m)
{
	for (uint32_t i = 0; i < records(m)->chunk_count * records(m)->per_chunk; i++) {
		const struct subvolume_record *rec = slab_find(records(m), i);

		if (rec && rec->slot == m->slot)
			slab_free(records(m), i);
	}
}

void subvolumes_unmounted(struct medium *m)
{
	if (m->subvolumes)
		memset(m->subvolumes->devs, 0, sizeof(m->subvolumes->devs));
}
