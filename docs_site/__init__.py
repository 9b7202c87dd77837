"""What makes the documentation site: commands that are run, pictures, tables from the code."""
