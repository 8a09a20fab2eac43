/* Entries of a directory's listing, as the kernel reads them. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/limits.h"
#include "fs/dirent.h"

#define CANARY 0x5a

/* A buffer with a border, of which nothing may be touched. */
struct guarded {
	struct dirent_buffer buf;
	char data[4096 + 64] __attribute__((aligned(8)));
};

static void guarded_set(struct guarded *g, size_t size, bool plus)
{
	memset(g->data, CANARY, sizeof(g->data));
	g->buf = (struct dirent_buffer){.data = g->data, .size = size, .plus = plus};
}

static void guarded_check(const struct guarded *g)
{
	assert_true(g->buf.used <= g->buf.size);
	assert_int_equal(g->buf.used % 8, 0);
	for (size_t i = g->buf.used; i < sizeof(g->data); i++)
		assert_int_equal(g->data[i], CANARY);
}

static void assert_entry(const struct fuse_dirent *d, const char *name, uint64_t ino, uint32_t type,
			 uint64_t off)
{
	assert_int_equal(d->namelen, strlen(name));
	assert_memory_equal(d->name, name, d->namelen);
	assert_int_equal(d->ino, ino);
	assert_int_equal(d->type, type);
	assert_int_equal(d->off, off);
	for (size_t i = d->namelen; i < FUSE_DIRENT_SIZE(d) - FUSE_NAME_OFFSET; i++)
		assert_int_equal(d->name[i], 0); /* nothing of ours leaks to the reader */
}

static void plain_entries(void **state)
{
	struct guarded g;
	const struct fuse_dirent *d;

	guarded_set(&g, 4096, false);
	assert_true(dirent_add(&g.buf, ".", 1, DT_DIR, 1, NULL));
	assert_true(dirent_add(&g.buf, "eight---", 2, DT_REG, 77, NULL));
	assert_true(dirent_add(&g.buf, "nine bytes", UINT64_MAX, DT_LNK, UINT64_MAX, NULL));
	guarded_check(&g);
	d = (const struct fuse_dirent *)g.data;
	assert_entry(d, ".", 1, DT_DIR, 1);
	d = (const void *)((const char *)d + FUSE_DIRENT_SIZE(d));
	assert_entry(d, "eight---", 2, DT_REG, 77);
	d = (const void *)((const char *)d + FUSE_DIRENT_SIZE(d));
	assert_entry(d, "nine bytes", UINT64_MAX, DT_LNK, UINT64_MAX);
	assert_ptr_equal((const char *)d + FUSE_DIRENT_SIZE(d), g.data + g.buf.used);
}

static void entries_with_attributes(void **state)
{
	struct fuse_entry_out entry = {.nodeid = 9, .attr = {.ino = 10, .mode = 0100644}};
	struct guarded g;
	const struct fuse_direntplus *d;

	guarded_set(&g, 4096, true);
	assert_true(dirent_add(&g.buf, "first", 10, DT_REG, 3, &entry));
	entry.nodeid = 0;
	assert_true(dirent_add(&g.buf, "second", 11, DT_DIR, 4, &entry));
	guarded_check(&g);
	d = (const struct fuse_direntplus *)g.data;
	assert_int_equal(d->entry_out.nodeid, 9);
	assert_int_equal(d->entry_out.attr.mode, 0100644);
	assert_entry(&d->dirent, "first", 10, DT_REG, 3);
	d = (const void *)((const char *)d + FUSE_DIRENTPLUS_SIZE(d));
	assert_int_equal(d->entry_out.nodeid, 0);
	assert_entry(&d->dirent, "second", 11, DT_DIR, 4);
	assert_ptr_equal((const char *)d + FUSE_DIRENTPLUS_SIZE(d), g.data + g.buf.used);
}

/* A name of n letters. */
static const char *name_of(size_t n)
{
	static char name[LIMIT_NAME + 1];

	memset(name, 'n', n);
	name[n] = '\0';
	return name;
}

/* For each length and each room left: it fits whole or not at all, and is told beforehand. */
static void the_end_of_the_buffer(void **state)
{
	const struct fuse_entry_out entry = {0};
	struct guarded g;

	for (int plus = 0; plus < 2; plus++) {
		size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

		for (size_t n = 1; n <= LIMIT_NAME; n += n < 20 ? 1 : 47) {
			size_t needs = (head + n + 7) / 8 * 8;

			for (size_t room = 0; room <= needs + 9; room++) {
				guarded_set(&g, 1024, plus);
				g.buf.used = 1024 - room / 8 * 8;
				g.buf.size = g.buf.used + room;
				assert_int_equal(dirent_fits(&g.buf, n), room >= needs);
				assert_int_equal(
					dirent_add(&g.buf, name_of(n), 1, DT_REG, 1, &entry),
					room >= needs);
				guarded_check(&g);
			}
		}
	}
}

static void no_buffer_at_all(void **state)
{
	struct dirent_buffer buf = {0};

	assert_false(dirent_fits(&buf, 1));
	assert_false(dirent_add(&buf, "a", 1, DT_REG, 1, NULL));
	assert_int_equal(buf.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_entries),
		cmocka_unit_test(entries_with_attributes),
		cmocka_unit_test(the_end_of_the_buffer),
		cmocka_unit_test(no_buffer_at_all),
	};

	return cmocka_run_group_tests_name("dirent", tests, NULL, NULL);
}
