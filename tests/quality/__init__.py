"""LLM quality: sources, samples, the judge, its verdicts, and what is computed from them."""
