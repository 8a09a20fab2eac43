#include "store.h"

#include <assert.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define STORE_MAGIC 0x68706673u /* "hpfs" */
#define CHUNK_LEAST (64u << 10)
#define REGION_SIZE (8ULL << 30) /* of address space; memory is used only where it is touched */
#define HEADER_SIZE (64u << 10)

struct slab_chunk {
	uint32_t used;
	uint32_t first_free; /* SLAB_NONE: records from fresh on were never used */
	uint32_t fresh;
	uint32_t next_partial;
	bool listed;
};

_Static_assert(sizeof(struct store_header) <= HEADER_SIZE, "header fits");

static void partial_push(struct slab *slab, uint32_t chunk)
{
	struct slab_chunk *c = &slab->chunks[chunk];

	if (c->listed)
		return;
	c->listed = true;
	c->next_partial = slab->partial;
	slab->partial = chunk;
}

static int chunk_add(struct slab *slab)
{
	uint32_t n = slab->chunk_count;

	if (n >= slab->chunk_limit)
		return -ENOSPC;
	if ((n & (n - 1)) == 0) {
		struct slab_chunk *more = realloc(slab->chunks,
						  (n ? 2 * n : 1) * sizeof(*slab->chunks));

		if (!more)
			return -ENOMEM;
		slab->chunks = more;
	}
	slab->chunks[n] = (struct slab_chunk){.first_free = SLAB_NONE};
	slab->chunk_count++;
	partial_push(slab, n);
	return 0;
}

int slab_alloc(struct slab *slab, uint32_t *ret_index)
{
	struct slab_chunk *c;
	struct slab_head *head;
	uint32_t index;
	int r;

	if (slab->partial == SLAB_NONE) {
		r = chunk_add(slab);
		if (r < 0)
			return r;
	}
	c = &slab->chunks[slab->partial];
	if (c->first_free != SLAB_NONE) {
		index = c->first_free;
		head = slab_at(slab, index);
		c->first_free = head->next_free;
	} else {
		index = slab->partial * slab->per_chunk + c->fresh++;
		head = slab_at(slab, index);
	}
	memset(head, 0, slab->record_size);
	if (slab->spare == slab->partial)
		slab->spare = SLAB_NONE;
	c->used++;
	slab->live++;
	if (c->first_free == SLAB_NONE && c->fresh == slab->per_chunk) {
		c->listed = false;
		slab->partial = c->next_partial;
	}
	*ret_index = index;
	return 0;
}

/* The memory of a chunk without records, to the system. */
static void chunk_give_back(struct slab *slab, uint32_t chunk)
{
	struct slab_chunk *c = &slab->chunks[chunk];

	(void)madvise(slab->base + chunk * slab->chunk_size, slab->chunk_size, MADV_REMOVE);
	c->first_free = SLAB_NONE;
	c->fresh = 0;
}

void slab_free(struct slab *slab, uint32_t index)
{
	uint32_t chunk = index / slab->per_chunk;
	struct slab_chunk *c = &slab->chunks[chunk];
	struct slab_head *head = slab_at(slab, index);

	__atomic_store_n(&head->live, 0, __ATOMIC_RELEASE);
	head->next_free = c->first_free;
	c->first_free = index;
	c->used--;
	slab->live--;
	partial_push(slab, chunk);
	if (c->used > 0)
		return;
	if (slab->spare != SLAB_NONE)
		chunk_give_back(slab, slab->spare);
	slab->spare = chunk;
}

void *slab_find(const struct slab *slab, uint32_t index)
{
	uint32_t chunk = index / slab->per_chunk;
	struct slab_head *head;

	/* memory that was given back is not looked at: that alone would take it again */
	if (chunk >= slab->chunk_count || index % slab->per_chunk >= slab->chunks[chunk].fresh)
		return NULL;
	head = slab_at(slab, index);
	return head->live ? head : NULL;
}

/* Free list of a chunk that an earlier server used. Returns 0 or -errno. */
static int chunk_rebuild(struct slab *slab)
{
	uint32_t chunk = slab->chunk_count;
	struct slab_chunk *c;
	int r = chunk_add(slab);

	if (r < 0)
		return r;
	c = &slab->chunks[chunk];
	c->fresh = slab->per_chunk;
	for (uint32_t i = slab->per_chunk; i-- > 0;) {
		uint32_t index = chunk * slab->per_chunk + i;
		struct slab_head *head = slab_at(slab, index);

		if (head->live) {
			c->used++;
		} else {
			head->next_free = c->first_free;
			c->first_free = index;
		}
	}
	slab->live += c->used;
	if (c->first_free == SLAB_NONE) { /* full: it is the one just pushed */
		c->listed = false;
		slab->partial = c->next_partial;
	}
	if (c->used == 0)
		chunk_give_back(slab, chunk);
	return 0;
}

/* The least that is whole records, whole pages and not too little to bother about. */
static size_t chunk_size_of(size_t record_size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t step = page;

	while (step % record_size)
		step += page;
	return (CHUNK_LEAST + step - 1) / step * step;
}

/* Chunks that lie in a hole of the file are empty; behind the last data there was never one. */
static int slab_open(struct slab *slab, char *base, uint64_t offset, int fd, size_t record_size)
{
	size_t chunk_size = chunk_size_of(record_size);
	uint64_t end;
	off_t data;
	int r = 0;

	*slab = (struct slab){
		.base = base + offset,
		.record_size = record_size,
		.chunk_size = chunk_size,
		.per_chunk = (uint32_t)(chunk_size / record_size),
		.chunk_limit = (uint32_t)(REGION_SIZE / chunk_size),
		.partial = SLAB_NONE,
		.spare = SLAB_NONE,
	};
	end = offset + slab->chunk_limit * chunk_size;
	data = lseek(fd, (off_t)offset, SEEK_DATA);
	while (r == 0 && data >= 0 && (uint64_t)data < end) {
		if (((uint64_t)data - offset) / chunk_size > slab->chunk_count)
			r = chunk_add(slab);
		else
			r = chunk_rebuild(slab);
		if (r == 0 && (uint64_t)data < offset + slab->chunk_count * chunk_size)
			data = lseek(fd, (off_t)(offset + slab->chunk_count * chunk_size),
				     SEEK_DATA);
	}
	return r;
}

int store_new_fd(void)
{
	int fd = memfd_create("hotplugfs-nodes", MFD_CLOEXEC);
	uint32_t magic = STORE_MAGIC;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)(HEADER_SIZE + STORE_REGIONS * REGION_SIZE)) < 0 ||
	    pwrite(fd, &magic, sizeof(magic), 0) != (ssize_t)sizeof(magic)) {
		int r = -errno;

		close_fd(fd);
		return r;
	}
	return fd;
}

/* Whether it is as store_new_fd() made it; else a look at it could end in SIGBUS. */
static int store_check(int fd, size_t size)
{
	struct stat st;
	uint32_t magic;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != size ||
	    pread(fd, &magic, sizeof(magic), 0) != (ssize_t)sizeof(magic) || magic != STORE_MAGIC)
		return -EBADMSG;
	return 0;
}

static int store_map(int fd, struct store *store)
{
	void *base = mmap(NULL, store->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			  0);

	if (base == MAP_FAILED)
		return -errno;
	store->header = base;
	return 0;
}

int store_open(int fd, const struct store_layout *layout, struct store *ret_store)
{
	struct store store = {.fd = fd, .size = HEADER_SIZE + STORE_REGIONS * REGION_SIZE};
	int r = store_check(fd, store.size);

	if (r == 0)
		r = store_map(fd, &store);
	for (int i = 0; i < STORE_REGIONS && r == 0; i++) {
		assert(layout->record_size[i] >= sizeof(struct slab_head));
		r = slab_open(&store.slabs[i], (char *)store.header,
			      HEADER_SIZE + (uint64_t)i * REGION_SIZE, fd, layout->record_size[i]);
	}
	if (r < 0)
		store_close(&store);
	else
		*ret_store = store;
	return r;
}

void store_close(struct store *store)
{
	for (int i = 0; i < STORE_REGIONS; i++)
		free(store->slabs[i].chunks);
	if (store->header)
		(void)munmap(store->header, store->size);
	store->fd = close_fd(store->fd);
}
