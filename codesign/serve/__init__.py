"""A local web page over a folder of runs: studies, their points as they come, reports."""
