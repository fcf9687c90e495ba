"""The database: schema, migrations, one file of queries per noun."""
