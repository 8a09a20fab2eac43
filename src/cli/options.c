#include "cli/options.h"

#include <assert.h>
#include <getopt.h>

#include "base/log.h"
#include "cli/command.h"

/* Where the codes of long options start for getopt_long(3), above all letters. */
#define CODE_BASE 256

/* Options of every command. */
static const struct option_spec common_options[] = {
	{.name = "help", .letter = 'h', .help = "print this help"},
	{.name = "version", .help = "print the version"},
	OPTION_END,
};

static size_t table_length(const struct option_spec *table)
{
	size_t n = 0;

	while (table[n].name)
		n++;
	return n;
}

/* The index-th option of a command: its own, then the shared, then the common ones; or NULL. */
static const struct option_spec *option_at(const struct command *command, size_t index)
{
	const struct option_spec *const tables[] = {command->options, command->shared,
						    common_options};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		size_t length = tables[i] ? table_length(tables[i]) : 0;

		if (index < length)
			return &tables[i][index];
		index -= length;
	}
	return NULL;
}

static size_t option_count(const struct command *command)
{
	size_t n = 0;

	while (option_at(command, n))
		n++;
	return n;
}

static const struct option_spec *option_by_code(const struct command *command, int code)
{
	size_t count = option_count(command);

	if (code >= CODE_BASE && (size_t)(code - CODE_BASE) < count)
		return option_at(command, (size_t)(code - CODE_BASE));
	for (size_t i = 0; i < count; i++)
		if (code && option_at(command, i)->letter == code)
			return option_at(command, i);
	return NULL;
}

/* More options than any command has. */
#define OPTIONS_MAX 64

/* What getopt_long(3) says of a word that is no option, when it is to keep their order. */
#define CODE_WORD 1

struct getopt_tables {
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 * OPTIONS_MAX + 3];
};

static void tables_make(const struct command *command, struct getopt_tables *tables)
{
	size_t count = option_count(command);
	size_t used = 0;

	assert(count <= OPTIONS_MAX);
	if (command->tail)
		tables->shorts[used++] = '-'; /* in order: what follows "--" is not moved */
	tables->shorts[used++] = ':'; /* a missing value is told apart from an unknown option */
	for (size_t i = 0; i < count; i++) {
		const struct option_spec *spec = option_at(command, i);

		tables->longs[i].name = spec->name;
		tables->longs[i].has_arg = spec->value ? required_argument : no_argument;
		tables->longs[i].val = CODE_BASE + (int)i;
		if (!spec->letter)
			continue;
		tables->shorts[used++] = spec->letter;
		if (spec->value)
			tables->shorts[used++] = ':';
	}
	tables->shorts[used] = '\0';
}

/* How many options start with the given text: getopt_long(3) takes a unique beginning. */
static size_t candidates(const struct command *command, const char *given)
{
	size_t length = strcspn(given, "=");
	size_t found = 0;

	for (size_t i = 0; i < option_count(command); i++)
		found += strncmp(option_at(command, i)->name, given, length) == 0;
	return found;
}

/* Says what getopt_long(3) did not like: missing is its ':' answer, else it was '?'. */
static void explain(const struct command *command, char *const *argv, bool missing, char *error,
		    size_t error_size)
{
	const struct option_spec *spec = option_by_code(command, optopt);
	const char *given = argv[optind - 1];

	if (missing && spec)
		(void)snprintf(error, error_size, "--%s needs a value (%s)", spec->name,
			       spec->value);
	else if (spec)
		(void)snprintf(error, error_size, "--%s takes no value", spec->name);
	else if (optopt)
		(void)snprintf(error, error_size, "unknown option %s",
			       QUOTE(((char[]){'-', (char)optopt, '\0'})));
	else if (candidates(command, given + 2) > 1)
		(void)snprintf(error, error_size, "ambiguous option %s", QUOTE(given));
	else
		(void)snprintf(error, error_size, "unknown option %s", QUOTE(given));
}

/* With a tail the operand has been collected with the options. */
static int tail_take(const struct command *command, int argc, char **argv, struct arguments *args,
		     char *error, size_t error_size)
{
	if (!args->operand)
		args->operand = command->operand_default;
	if (!*args->operand) {
		(void)snprintf(error, error_size, "%s is missing", command->operand);
		return -EINVAL;
	}
	if (optind == argc) {
		(void)snprintf(error, error_size, "-- %s is missing", command->tail);
		return -EINVAL;
	}
	args->tail = argv + optind;
	return 0;
}

static int operand_take(const struct command *command, int argc, char *const *argv,
			struct arguments *args, char *error, size_t error_size)
{
	int allowed = command->operand ? 1 : 0;

	if (argc - optind > allowed) {
		(void)snprintf(error, error_size, "unexpected argument %s",
			       QUOTE(argv[optind + allowed]));
		return -EINVAL;
	}
	if (!allowed)
		return 0;
	args->operand = optind < argc ? argv[optind] : command->operand_default;
	if (!args->operand || !*args->operand) {
		(void)snprintf(error, error_size, "%s is missing", command->operand);
		return -EINVAL;
	}
	return 0;
}

/* A word before the "--" of a command with a tail. */
static int word_take(struct arguments *args, const char *word, char *error, size_t error_size)
{
	if (args->operand) {
		(void)snprintf(error, error_size,
			       "unexpected argument %s; what is to be run goes after --",
			       QUOTE(word));
		return -EINVAL;
	}
	args->operand = word;
	return 0;
}

/* Collects all options into args. Returns 0, or -EINVAL with the error set. */
static int collect(const struct getopt_tables *tables, int argc, char **argv,
		   struct arguments *args, char *error, size_t error_size)
{
	const struct command *command = args->command;
	int code;

	opterr = 0;
	optind = 0; /* start anew, also after an earlier parse */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
	while ((code = getopt_long(argc, argv, tables->shorts, tables->longs, NULL)) >= 0) {
		const struct option_spec *spec = option_by_code(command, code);

		if (code == CODE_WORD) {
			if (word_take(args, optarg, error, error_size) < 0)
				return -EINVAL;
			continue;
		}
		if (code == '?' || code == ':' || !spec) {
			explain(command, argv, code == ':', error, error_size);
			return -EINVAL;
		}
		args->given[args->given_count++] = (struct argument){spec, optarg};
	}
	return 0;
}

int options_parse(const struct command *command, int argc, char **argv, struct arguments *ret_args,
		  char *error, size_t error_size)
{
	struct getopt_tables tables = {0};
	size_t most = 1; /* options that can be given: one for each character */
	int r;

	*ret_args = (struct arguments){.command = command};
	for (int i = 1; i < argc; i++)
		most += strlen(argv[i]);
	ret_args->given = calloc(most, sizeof(*ret_args->given));
	if (!ret_args->given)
		return -ENOMEM;
	tables_make(command, &tables);
	r = collect(&tables, argc, argv, ret_args, error, error_size);
	/* Who asks for help gets it, whatever else is wrong. */
	if (arguments_has(ret_args, "help"))
		return OPTIONS_HELP;
	if (arguments_has(ret_args, "version"))
		return OPTIONS_VERSION;
	if (r == 0 && command->tail)
		r = tail_take(command, argc, argv, ret_args, error, error_size);
	else if (r == 0)
		r = operand_take(command, argc, argv, ret_args, error, error_size);
	return r < 0 ? r : OPTIONS_RUN;
}

void arguments_done(struct arguments *args)
{
	free(args->given);
	*args = (struct arguments){0};
}

static const struct argument *argument_find(const struct arguments *args, const char *name)
{
	for (size_t i = args->given_count; i > 0; i--)
		if (streq(args->given[i - 1].spec->name, name))
			return &args->given[i - 1];
	return NULL;
}

bool arguments_has(const struct arguments *args, const char *name)
{
	return argument_find(args, name) != NULL;
}

const char *arguments_value(const struct arguments *args, const char *name)
{
	const struct argument *found = argument_find(args, name);

	return found ? found->value : NULL;
}

/* The column in which --help texts start. */
#define HELP_COLUMN 29

static void option_help(const struct option_spec *spec, FILE *out)
{
	const char *line = spec->help;
	char letter[8] = "    ";
	char head[64];

	if (spec->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
	(void)snprintf(head, sizeof(head), "  %s--%s%s%s", letter, spec->name,
		       spec->value ? " " : "", spec->value ? spec->value : "");
	(void)fprintf(out, "%-*s ", HELP_COLUMN - 1, head);
	for (;;) {
		size_t length = strcspn(line, "\n");

		(void)fprintf(out, "%.*s\n", (int)length, line);
		if (!line[length])
			return;
		line += length + 1;
		(void)fprintf(out, "%*s", HELP_COLUMN, "");
	}
}

void options_help(const struct command *command, FILE *out)
{
	(void)fprintf(out, "Usage: hotplugfs %s [OPTIONS]", command->name);
	if (command->operand)
		(void)fprintf(out, command->operand_default ? " [%s]" : " %s", command->operand);
	if (command->tail)
		(void)fprintf(out, " -- %s", command->tail);
	(void)fprintf(out, "\n\n%s\n\nOptions:\n", command->summary);
	for (size_t i = 0; i < option_count(command); i++)
		option_help(option_at(command, i), out);
	if (command->notes)
		(void)fprintf(out, "\n%s\n", command->notes);
}
