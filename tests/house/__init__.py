"""House rules that a linter does not know: shapes, tables, start-up costs, and documents that stay true."""
