#include "cli/table.h"

#include "cli/output.h"

struct cell {
	char *text;
	size_t width;
};

struct table {
	const struct table_column *columns;
	size_t column_count;
	struct cell *cells; /* row by row; the titles are the first row */
	size_t cell_count;
};

int table_new(const struct table_column *columns, struct table **ret_table)
{
	_cleanup_(table_freep) struct table *table = calloc(1, sizeof(*table));
	_cleanup_free_ const char **titles = NULL;
	int r;

	if (!table)
		return -ENOMEM;
	table->columns = columns;
	while (columns[table->column_count].title)
		table->column_count++;
	titles = calloc(table->column_count, sizeof(*titles));
	if (!titles)
		return -ENOMEM;
	for (size_t i = 0; i < table->column_count; i++)
		titles[i] = columns[i].title;
	r = table_add(table, titles);
	if (r < 0)
		return r;
	*ret_table = TAKE_PTR(table);
	return 0;
}

struct table *table_free(struct table *table)
{
	if (!table)
		return NULL;
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
	return NULL;
}

int table_add(struct table *table, const char *const *texts)
{
	size_t count = table->cell_count + table->column_count;
	struct cell *bigger = reallocarray(table->cells, count, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	table->cells = bigger;
	for (size_t i = 0; i < table->column_count; i++) {
		struct cell *cell = &table->cells[table->cell_count];

		cell->text = text_escape(texts[i] ? texts[i] : "", &cell->width);
		if (!cell->text)
			return -ENOMEM;
		table->cell_count++;
	}
	return 0;
}

/* The width of a column; 0 if no row has anything in it. */
static size_t column_width(const struct table *table, size_t column)
{
	size_t width = 0;

	for (size_t i = table->column_count + column; i < table->cell_count;
	     i += table->column_count)
		width = MAX(width, table->cells[i].width);
	return width ? MAX(width, table->cells[column].width) : 0;
}

/*
 * Prints a cell after the blanks that earlier ones left pending, so that no line ends in blanks.
 * Returns the blanks that are pending then.
 */
static int cell_print(const struct cell *cell, size_t width, bool right, int pending, FILE *out)
{
	int blanks = (int)(width - cell->width);

	if (cell->width == 0)
		return pending + blanks + 2;
	(void)fprintf(out, "%*s%s", pending + (right ? blanks : 0), "", cell->text);
	return right ? 2 : blanks + 2;
}

void table_print(const struct table *table, FILE *out)
{
	int pending = 0;

	for (size_t i = 0; i < table->cell_count; i++) {
		size_t column = i % table->column_count;
		size_t width = column_width(table, column);

		if (width)
			pending = cell_print(&table->cells[i], width, table->columns[column].right,
					     pending, out);
		if (column == table->column_count - 1) {
			(void)fputc('\n', out);
			pending = 0;
		}
	}
}
