"""Where parts of a run may work: in this process, in others of this machine, in a Ray cluster."""
