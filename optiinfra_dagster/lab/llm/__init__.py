"""LLM applications of the lab: what a world file says of them, and the interactions that they log."""
