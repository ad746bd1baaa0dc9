"""What `optiinfra mcp` serves: the readers as tools of an assistant, each bound to the customers of a token."""
