/* Command lines, texts for terminals, sizes and tables: what the commands share. */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* The command line is not part of the library that the tests link to. */
#include "cli/options.c"
#include "cli/output.c"
#include "cli/table.c"

static const struct option_spec options[] = {
	{.name = "include", .value = "GLOB", .setting = "include", .help = "one\ntwo"},
	{.name = "interval", .value = "TIME", .help = "time"},
	{.name = "all", .letter = 'a', .help = "flag"},
	{.name = "number", .letter = 'n', .value = "N", .help = "number"},
	OPTION_END,
};

static const struct command with_operand = {
	.name = "test", .operand = "NAME", .summary = "Tests.", .options = options};
static const struct command with_default = {.name = "test",
					    .operand = "NAME",
					    .operand_default = "default",
					    .summary = "Tests.",
					    .options = options};
static const struct command without_operand = {
	.name = "test", .summary = "Tests.", .notes = "Notes.", .options = options};

static const struct option_spec shared[] = {
	{.name = "shared", .value = "TEXT", .help = "shared"},
	OPTION_END,
};
static const struct command with_tail = {
	.name = "test",
	.operand = "DIR",
	.operand_default = "/default",
	.tail = "COMMAND [ARGUMENT]...",
	.summary = "Tests.",
	.options = options,
	.shared = shared,
};

struct parsed {
	struct arguments args;
	char error[1400];
	int result;
};

/* argv: the words after the command's name, up to a NULL. */
static struct parsed parse(const struct command *command, const char *const *words)
{
	struct parsed p = {0};
	char *argv[32] = {(char *)(uintptr_t) "test"};
	int argc = 1;

	while (words[argc - 1]) {
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
		argc++;
	}
	p.result = options_parse(command, argc, argv, &p.args, p.error, sizeof(p.error));
	return p;
}

#define PARSE(command, ...) parse(command, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void test_accepted(void **state)
{
	struct parsed p = PARSE(&with_operand, "--include", "loop*", "X", "--include=sd?", "-an7");

	assert_int_equal(p.result, OPTIONS_RUN);
	assert_string_equal(p.args.operand, "X");
	assert_int_equal(p.args.given_count, 4);
	assert_string_equal(p.args.given[0].value, "loop*");
	assert_string_equal(p.args.given[1].value, "sd?");
	assert_ptr_equal(p.args.given[1].spec, &options[0]);
	assert_true(arguments_has(&p.args, "all"));
	assert_null(arguments_value(&p.args, "all"));
	assert_string_equal(arguments_value(&p.args, "number"), "7");
	assert_string_equal(arguments_value(&p.args, "include"), "sd?");
	assert_false(arguments_has(&p.args, "interval"));
	arguments_done(&p.args);
}

static void test_dashes(void **state)
{
	struct parsed p = PARSE(&with_operand, "--", "--all");

	assert_int_equal(p.result, OPTIONS_RUN);
	assert_string_equal(p.args.operand, "--all");
	assert_false(arguments_has(&p.args, "all"));
	arguments_done(&p.args);
}

static void test_default(void **state)
{
	struct parsed p = PARSE(&with_default, "-a");

	assert_int_equal(p.result, OPTIONS_RUN);
	assert_string_equal(p.args.operand, "default");
	arguments_done(&p.args);
	p = PARSE(&with_default, "x");
	assert_string_equal(p.args.operand, "x");
	arguments_done(&p.args);
}

static void test_beginning(void **state)
{
	struct parsed p = PARSE(&without_operand, "--inc", "x");

	assert_int_equal(p.result, OPTIONS_RUN);
	assert_string_equal(arguments_value(&p.args, "include"), "x");
	arguments_done(&p.args);
}

static void test_help(void **state)
{
	struct parsed p = PARSE(&with_operand, "-h");

	assert_int_equal(p.result, OPTIONS_HELP);
	arguments_done(&p.args);
	p = PARSE(&with_operand, "--help", "--nonsense");
	assert_int_equal(p.result, OPTIONS_HELP);
	arguments_done(&p.args);
	p = PARSE(&with_operand, "--version");
	assert_int_equal(p.result, OPTIONS_VERSION);
	arguments_done(&p.args);
}

static void refused(struct parsed p, const char *error)
{
	assert_int_equal(p.result, -EINVAL);
	assert_string_equal(p.error, error);
	arguments_done(&p.args);
}

static void test_refused(void **state)
{
	refused(PARSE(&with_operand), "NAME is missing");
	refused(PARSE(&with_operand, ""), "NAME is missing");
	refused(PARSE(&with_default, ""), "NAME is missing");
	refused(PARSE(&with_default, "a", "b"), "unexpected argument \"b\"");
	refused(PARSE(&with_operand, "a", "b"), "unexpected argument \"b\"");
	refused(PARSE(&without_operand, "a"), "unexpected argument \"a\"");
	refused(PARSE(&with_operand, "--nonsense", "a"), "unknown option \"--nonsense\"");
	refused(PARSE(&with_operand, "--nonsense=5", "a"), "unknown option \"--nonsense=5\"");
	refused(PARSE(&with_operand, "--in", "a"), "ambiguous option \"--in\"");
	refused(PARSE(&with_operand, "a", "-x"), "unknown option \"-x\"");
	refused(PARSE(&with_operand, "a", "-\033"), "unknown option \"-\\x1b\"");
	refused(PARSE(&with_operand, "a", "--include"), "--include needs a value (GLOB)");
	refused(PARSE(&with_operand, "a", "-n"), "--number needs a value (N)");
	refused(PARSE(&with_operand, "a", "--all=yes"), "--all takes no value");
}

static void test_tail(void **state)
{
	struct parsed p = PARSE(&with_tail, "-a", "--shared", "s", "--", "ls", "-n", "--", "x");

	assert_int_equal(p.result, OPTIONS_RUN);
	assert_string_equal(p.args.operand, "/default");
	assert_int_equal(p.args.given_count, 2);
	assert_string_equal(arguments_value(&p.args, "shared"), "s");
	assert_string_equal(p.args.tail[0], "ls");
	assert_string_equal(p.args.tail[1], "-n");
	assert_string_equal(p.args.tail[2], "--");
	assert_string_equal(p.args.tail[3], "x");
	assert_null(p.args.tail[4]);
	arguments_done(&p.args);
	p = PARSE(&with_tail, "dir", "--include", "--", "-a", "--", "--help");
	assert_int_equal(p.result, OPTIONS_RUN);
	assert_string_equal(p.args.operand, "dir");
	assert_string_equal(arguments_value(&p.args, "include"), "--");
	assert_true(arguments_has(&p.args, "all"));
	assert_string_equal(p.args.tail[0], "--help");
	arguments_done(&p.args);
	p = PARSE(&with_tail, "--help");
	assert_int_equal(p.result, OPTIONS_HELP);
	arguments_done(&p.args);
}

static void test_tail_refused(void **state)
{
	static const char missing[] = "-- COMMAND [ARGUMENT]... is missing";

	refused(PARSE(&with_tail), missing);
	refused(PARSE(&with_tail, "--"), missing);
	refused(PARSE(&with_tail, "dir"), missing);
	refused(PARSE(&with_tail, "dir", "-a", "--"), missing);
	refused(PARSE(&with_tail, "--include", "--"), missing);
	refused(PARSE(&with_tail, "", "--", "ls"), "DIR is missing");
	refused(PARSE(&with_tail, "dir", "ls", "-l"),
		"unexpected argument \"ls\"; what is to be run goes after --");
	refused(PARSE(&with_tail, "-x", "--", "ls"), "unknown option \"-x\"");
	refused(PARSE(&with_tail, "--i", "x", "--", "ls"), "ambiguous option \"--i\"");
	refused(PARSE(&with_tail, "--shared"), "--shared needs a value (TEXT)");
}

static void test_many(void **state)
{
	struct parsed p = PARSE(&without_operand, "-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "-a");

	assert_int_equal(p.result, OPTIONS_RUN);
	assert_int_equal(p.args.given_count, 32);
	arguments_done(&p.args);
}

/* What a function prints, as a string. */
static void printed(void (*print)(FILE *, const void *), const void *what, const char *expected)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	print(f, what);
	assert_int_equal(fclose(f), 0);
	assert_string_equal(text, expected);
}

static void help_to(FILE *f, const void *what)
{
	options_help(what, f);
}

static void test_help_text(void **state)
{
	printed(help_to, &without_operand,
		"Usage: hotplugfs test [OPTIONS]\n\nTests.\n\nOptions:\n"
		"      --include GLOB         one\n"
		"                             two\n"
		"      --interval TIME        time\n"
		"  -a, --all                  flag\n"
		"  -n, --number N             number\n"
		"  -h, --help                 print this help\n"
		"      --version              print the version\n\nNotes.\n");
	printed(help_to, &with_tail,
		"Usage: hotplugfs test [OPTIONS] [DIR] -- COMMAND [ARGUMENT]...\n\nTests.\n\n"
		"Options:\n"
		"      --include GLOB         one\n"
		"                             two\n"
		"      --interval TIME        time\n"
		"  -a, --all                  flag\n"
		"  -n, --number N             number\n"
		"      --shared TEXT          shared\n"
		"  -h, --help                 print this help\n"
		"      --version              print the version\n");
}

static void escaped(const char *text, const char *expected, size_t expected_width)
{
	size_t width;
	_cleanup_free_ char *out = text_escape(text, &width);

	assert_string_equal(out, expected);
	assert_int_equal(width, expected_width);
}

static void test_escape(void **state)
{
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		skip();
	escaped("", "", 0);
	escaped("BACKUP 1", "BACKUP 1", 8);
	escaped("a\033[2Jb\n", "a\\x1b[2Jb\\x0a", 13);
	escaped("a\\x1b", "a\\x5cx1b", 8);
	escaped("\xc3\xa4", "\xc3\xa4", 1);
	escaped("\xe5\x86\x99", "\xe5\x86\x99", 2);
	escaped("\xe2\x80\xae", "\\xe2\\x80\\xae", 12); /* right-to-left override */
	escaped("\xc2\x9b", "\\xc2\\x9b", 8);		/* C1: control sequence introducer */
	escaped("\xff\xc3", "\\xff\\xc3", 8);
	escaped("\xc3(", "\\xc3(", 5);
}

static void test_escape_ascii(void **state)
{
	assert_non_null(setlocale(LC_CTYPE, "C"));
	escaped("\xc3\xa4", "\\xc3\\xa4", 8);
}

static void test_size(void **state)
{
	assert_string_equal(size_format(0).text, "0 B");
	assert_string_equal(size_format(1023).text, "1023 B");
	assert_string_equal(size_format(1024).text, "1.0 KiB");
	assert_string_equal(size_format(1536).text, "1.5 KiB");
	assert_string_equal(size_format(16008609792).text, "14.9 GiB");
	assert_string_equal(size_format(120u << 20).text, "120 MiB");
	assert_string_equal(size_format(UINT64_MAX).text, "15.9 EiB");
}

static void table_to(FILE *f, const void *what)
{
	table_print(what, f);
}

static void test_table(void **state)
{
	static const struct table_column columns[] = {
		{.title = "NAME"},
		{.title = "EMPTY"},
		{.title = "SIZE", .right = true},
		{.title = "WHY"},
		{0},
	};
	_cleanup_(table_freep) struct table *table = NULL;

	assert_int_equal(table_new(columns, &table), 0);
	assert_int_equal(table_add(table, (const char *const[]){"LONGNAME", NULL, "7 B", ""}), 0);
	assert_int_equal(table_add(table, (const char *const[]){"B", "", "120 MiB", "x\ty"}), 0);
	printed(table_to, table,
		"NAME         SIZE  WHY\n"
		"LONGNAME      7 B\n"
		"B         120 MiB  x\\x09y\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),     cmocka_unit_test(test_dashes),
		cmocka_unit_test(test_default),	     cmocka_unit_test(test_beginning),
		cmocka_unit_test(test_help),	     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_many),	     cmocka_unit_test(test_help_text),
		cmocka_unit_test(test_escape),	     cmocka_unit_test(test_size),
		cmocka_unit_test(test_escape_ascii), cmocka_unit_test(test_table),
		cmocka_unit_test(test_tail),	     cmocka_unit_test(test_tail_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
