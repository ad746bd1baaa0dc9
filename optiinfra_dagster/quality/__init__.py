"""LLM quality: where interactions come from, which are judged, how, and what the verdicts say."""
