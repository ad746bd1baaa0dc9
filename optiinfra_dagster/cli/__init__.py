"""The `optiinfra` command: typer commands, and what each of them does and prints."""
