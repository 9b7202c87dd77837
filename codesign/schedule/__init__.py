"""The one language that every machine lowers to."""
