"""Groq as the lab shows it: chat completions by a judge that follows simple rules, or that knows the right answers."""
