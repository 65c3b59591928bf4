"""The run page: a local web page of runs, live while they are. It reads the run folders and writes nothing."""
